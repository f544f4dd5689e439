"""Hostile reports and exports for a fleet's page: each may fail only its own row."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from ugsd_privacy.audit.export import ExportHeader, leaf_check, seal_text
from ugsd_privacy.audit.offline import verify_export
from ugsd_privacy.audit.records import RECORD_VERSION
from ugsd_privacy.cbor import encode_item
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.reasons import ReasonCode
from ugsd_privacy.reports.fleet import Device, merge_rows, verify_device
from ugsd_privacy.reports.model import (
    CapRow,
    DayRow,
    HandshakeRow,
    ReasonRow,
    Report,
    ResetRow,
)
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.schema import read_report
from ugsd_privacy.tlog.checkpoint import sign_checkpoint, sign_note
from ugsd_privacy.tlog.merkle import extend_frontier, frontier_root, leaf_hash
from ugsd_privacy.tlog.tiles import bundle_bytes

from ugsd_lab.fuzz.mutations import changed, damaged

__all__ = ["hostile_export", "hostile_report", "read_export", "read_report_of_fleet"]

_NOON_S = 1_767_009_600
_EXTREMES = (
    0, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 1e308, float("nan"), float("inf"), True,
    None, "1", "", b"",
)  # fmt: skip
_LOG = LogKey.generate()


@cache
def _report() -> str:
    amounts = Amounts(frames=2, blocks=1, tokens=3, states=1, bytes=512)
    return Report(
        made_s=_NOON_S, since_s=_NOON_S, until_s=_NOON_S + 9, user="ada", subject="0" * 16,
        log="", checkpoint="", vocabulary="",
        verification=Verification(outcome="verified", message="all adds up", size=2),
        total=amounts, earlier=0, later=0, lifetime=None,
        days=(DayRow(day="2025-12-29", amounts=amounts, captions=1, epsilon=None, lifetime=None),),
        caps=(CapRow(cap="blocks_per_day", configured=9, on_device=None, used=1, remaining=8,
                     is_met=False),),
        captions=(), handshakes=(HandshakeRow(verifier="", handshakes=1, first_s=_NOON_S,
                                              last_s=_NOON_S, bytes=256),),
        resets=(ResetRow(record=1, time_s=_NOON_S, windows=("day",)),),
        reasons=(ReasonRow(outcome="local", reason="sure", code=ReasonCode.BELOW_THRESHOLD,
                           is_cap=False, blocks=4),),
        never=(), protections=(), unprotected=(),
    ).model_dump_json()  # fmt: skip


def hostile_report(rng: Random) -> bytes:
    """Return a JSON report that has another schema or extreme numbers, is damaged, or is a bomb."""
    fields = json.loads(_report())
    inner = rng.choice((fields, fields["total"], fields["days"][0], fields["reasons"][0]))
    way = rng.randrange(6)
    if way in (0, 1):
        inner[rng.choice(list(inner))] = rng.choice(_EXTREMES[:-1])
    elif way == 2:
        made = changed(rng, inner)
        inner.clear()
        inner |= {str(key): value for key, value in made.items()}
    text = json.dumps(fields, default=repr)
    if way == 3:
        bomb = rng.choice(("[" * 5000, '{"a":' * 5000, "{}," * 5000 + "{}", "0," * 5000 + "0"))
        text = text.replace('"captions":[]'.replace(":", ": "), f'"captions": [{bomb}]')
    data = text.encode(errors="surrogatepass")
    return damaged(rng, data, data[::-1]) if way == 4 else data


def read_report_of_fleet(data: bytes) -> str:
    """Read the report, put it on a page, and return the row's outcome."""
    report = read_report(data)
    rows = [verify_device(Device("hostile", report)), verify_device(Device("silent"))]
    page = merge_rows(rows).model_dump_json()
    assert "silent" in page  # noqa: S101
    return next(row.verification.outcome for row in rows)


def hostile_export(rng: Random) -> bytes:
    """Return an export with arbitrary contents that its owner signed, or a sound one that was
    damaged."""
    wild = rng.random() < 0.6
    leaves: list[list[Any]] = [[rng.randrange(10**4), 1, 3] for _ in range(rng.randint(1, 4))]
    if wild:
        rng.choice(leaves)[rng.randrange(3)] = rng.choice(_EXTREMES)
    contents = [
        encode_item([RECORD_VERSION, rng.randbytes(32), leaf[0], leaf[1:]]) for leaf in leaves
    ]
    frontier: list[bytes] = []
    for index, content in enumerate(contents):
        frontier, _ = extend_frontier(frontier, index, leaf_hash(content))
    note = sign_checkpoint(len(contents), frontier_root(frontier), _LOG)
    header = ExportHeader(
        key=_LOG.public.to_text(), size=len(contents), bodies=False, hours=(1, 2),
        checkpoints=(note,),
    ).model_dump()  # fmt: skip
    if wild and rng.random() < 0.5:
        header[rng.choice(list(header))] = rng.choice(_EXTREMES)
    counts = [sum(leaf[n] for leaf in leaves if type(leaf[n]) is int) for n in (1, 2, 0)]
    if wild and rng.random() < 0.3:
        counts[rng.randrange(3)] = rng.choice(_EXTREMES[:7])
    checks = b"".join(leaf_check(n, content) for n, content in enumerate(contents))
    items = (header, [bundle_bytes(contents), [], checks], tuple(counts))
    data = b"".join(encode_item(encode_item(item)) for item in items)
    seal = sign_note(seal_text(hashlib.sha256(data).digest()), _LOG)
    data += encode_item(encode_item(seal))
    return damaged(rng, data, data[::-1]) if rng.random() < 0.3 else data


def read_export(data: bytes) -> str:
    """Verify the export and put it on a page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.ugsd"
        path.write_bytes(data)
        rows = [verify_device(Device("hostile", export=path)), verify_device(Device("silent"))]
        merge_rows(rows).model_dump_json()
    return f"verified: {verify_export(BytesIO(data)).size}"
