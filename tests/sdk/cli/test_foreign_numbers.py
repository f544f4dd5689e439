"""Numbers from a hostile device cause only typed errors, and no other device loses its row."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ugsd_privacy.audit.export import ExportHeader, leaf_check, read_item, seal_text
from ugsd_privacy.audit.records import RECORD_VERSION
from ugsd_privacy.cbor import encode_item
from ugsd_privacy.errors import PrivacyError, ReportRejected
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import LedgerRow
from ugsd_privacy.reports import fleet as fleet_module
from ugsd_privacy.reports.entries import Entry, total_of
from ugsd_privacy.reports.fleet import Device, merge_rows, verify_device
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.markdown import report_markdown
from ugsd_privacy.reports.model import ReasonRow
from ugsd_privacy.reports.parts import Amounts
from ugsd_privacy.reports.schema import read_report
from ugsd_privacy.tlog.checkpoint import sign_checkpoint, sign_note
from ugsd_privacy.tlog.merkle import extend_frontier, frontier_root, leaf_hash
from ugsd_privacy.tlog.tiles import bundle_bytes
from ugsd_sdk.cli import main

from tests.privacy.reports.report_specimen import REPORT

KEY, HOSTILE_KEY = LogKey.generate(), LogKey.generate()
LEAF = (5000, 1000, 2000)
"""Bytes, blocks and tokens; more than the specimen report has."""
TOTAL = Amounts(frames=2, blocks=1001, tokens=1002, states=3, bytes=1104)
MOST = 2**63 - 1
EXTREMES: list[Any] = [
    0, -1, 1, 2**31, 2**53, MOST, MOST + 1, 2**64, 2**64 - 1, 10**400, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), True, None, "1", "", [], {}, [1],
]  # fmt: skip


def export_bytes(
    key: LogKey,
    leaves: list[tuple[Any, Any, Any]],
    sums: Any = None,
    header: dict[str, Any] | None = None,
) -> bytes:
    """Return an export with invented content, signed and sealed by ``key``."""
    contents = [
        encode_item([RECORD_VERSION, hashlib.sha256(b"%d" % n).digest(), size, [blocks, tokens]])
        for n, (size, blocks, tokens) in enumerate(leaves)
    ]
    frontier: list[bytes] = []
    for index, content in enumerate(contents):
        frontier, _ = extend_frontier(frontier, index, leaf_hash(content))
    note = sign_checkpoint(len(contents), frontier_root(frontier), key)
    fields = ExportHeader(
        key=key.public.to_text(), size=len(contents), bodies=False, hours=(400_000, 400_001),
        checkpoints=(note,),
    ).model_dump() | (header or {})  # fmt: skip
    checks = b"".join(leaf_check(n, content) for n, content in enumerate(contents))
    sizes, blocks, tokens = zip(*leaves, strict=True)
    counts = (sum(blocks), sum(tokens), sum(sizes)) if sums is None else sums
    chunk = [bundle_bytes(contents), [], checks]
    data = b"".join(encode_item(encode_item(item)) for item in (fields, chunk, counts))
    seal = sign_note(seal_text(hashlib.sha256(data).digest()), key)
    return data + encode_item(encode_item(seal))


def report_of(key: LogKey, **changes: object) -> dict[str, Any]:
    note = ExportHeader.of(read_item(io.BytesIO(export_bytes(key, [LEAF, LEAF])))[1]).checkpoints[
        -1
    ]
    own = {"log": key.public.to_text(), "checkpoint": note, "total": TOTAL}
    made = REPORT.model_copy(update=own | changes)
    return json.loads(made.model_dump_json())


HONEST_REPORT, HONEST_EXPORT = report_of(KEY), export_bytes(KEY, [LEAF, LEAF])
HOSTILE_REPORT = report_of(HOSTILE_KEY, subject="1" * 16)


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all numbers in decoded JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, (*path, index))
    elif isinstance(value, (int, float)):
        yield path


def changed(fields: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(fields))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


NUMBERS = list(numbers(HOSTILE_REPORT))


def fleet(
    folder: Path, *hostile: tuple[str, bytes], forms: tuple[str, ...] = ("html", "md", "json")
) -> tuple[dict[str, Any], str]:
    """Return the page of an honest and hostile devices in JSON, the last of ``forms``."""
    files = [("honest.json", json.dumps(HONEST_REPORT).encode()), ("honest.ugsd", HONEST_EXPORT)]
    for name, data in (*files, *hostile):
        (folder / name).write_bytes(data)
    names = [str(folder / name) for name, _ in (*files, *hostile)]
    out, err = io.StringIO(), io.StringIO()
    for form in forms:
        out.truncate(out.seek(0))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["audit", "fleet", *names, "--format", form])
        assert code in {0, 1}
        assert out.getvalue()
    return json.loads(out.getvalue()), err.getvalue()


def honest_row(page: dict[str, Any]) -> dict[str, Any]:
    (row,) = [row for row in page["devices"] if row["log"] == KEY.public.to_text()]
    return row


def assert_honest_row_stays(page: dict[str, Any]) -> None:
    row = honest_row(page)
    assert row["verification"]["outcome"] == "verified"
    assert row["total"] == HONEST_REPORT["total"]
    assert row["logged"]["bytes"] == 2 * LEAF[0]
    assert page["total"]["bytes"] == sum(row["total"]["bytes"] for row in page["devices"])


def test_largest_counts_of_reports_are_added(tmp_path: Path) -> None:
    most = dict.fromkeys(HOSTILE_REPORT["total"], MOST)
    reports = [
        json.dumps(report_of(LogKey.generate(), subject=f"{n:016x}") | {"total": most}).encode()
        for n in range(3)
    ]
    page, _ = fleet(tmp_path, *((f"{n}.json", data) for n, data in enumerate(reports)))
    assert_honest_row_stays(page)
    assert page["total"]["bytes"] == 3 * MOST + HONEST_REPORT["total"]["bytes"]


def test_leaves_beyond_any_ledger_fail_their_own_log(tmp_path: Path) -> None:
    page, err = fleet(tmp_path, ("hostile.ugsd", export_bytes(HOSTILE_KEY, [(2**63, 1, 1)])))
    assert_honest_row_stays(page)
    assert "leaf 0: not a leaf" in err


def test_largest_leaves_are_added_up(tmp_path: Path) -> None:
    leaves = [(MOST, MOST, MOST)] * 2
    page, _ = fleet(tmp_path, ("hostile.ugsd", export_bytes(HOSTILE_KEY, leaves)))
    assert_honest_row_stays(page)
    (row,) = [row for row in page["devices"] if row["log"] == HOSTILE_KEY.public.to_text()]
    assert row["logged"]["bytes"] == 2 * MOST


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(EXTREMES)), min_size=1, max_size=3)
)
@example([(("captions", 0, "epsilon", "epsilon"), 5e-324)])
def test_extreme_numbers_in_reports_are_typed_errors(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    fields = HOSTILE_REPORT
    for path, value in changes:
        with contextlib.suppress(TypeError, KeyError, IndexError):  # an earlier change removed it
            fields = changed(fields, path, value)
    data = json.dumps(fields).encode()
    try:
        report = read_report(data)
    except ReportRejected:
        return
    assert report_html(report)
    assert report_markdown(report)
    rows = [
        verify_device(Device("hostile", report)),
        verify_device(Device("honest", read_report(json.dumps(HONEST_REPORT).encode()))),
    ]
    page = json.loads(merge_rows(rows).model_dump_json())
    (row,) = [row for row in page["devices"] if row["device"] == "honest"]
    assert row["total"] == HONEST_REPORT["total"]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(NUMBERS), st.sampled_from(EXTREMES))
def test_extreme_reports_do_not_damage_the_page(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], value: Any
) -> None:
    data = json.dumps(changed(HOSTILE_REPORT, path, value)).encode()
    page, _ = fleet(tmp_path_factory.mktemp("fleet"), ("hostile.json", data))
    assert_honest_row_stays(page)


EXPORT_PLACES = [
    *(("leaf", 0, n) for n in range(3)), *(("leaf", 1, n) for n in range(3)),
    *(("sums", n) for n in range(3)), ("sums",), *(("header", name) for name in (
        "version", "size", "hours", "bodies", "checkpoints", "key", "format")), ("hours", 0),
    ("hours", 1),
]  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(EXPORT_PLACES),
            st.sampled_from([v for v in EXTREMES if v != 10**400]),  # no CBOR without tags
        ),
        min_size=1,
        max_size=3,
    )
)
def test_extreme_exports_do_not_damage_the_page(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    leaves, sums, header = [list(LEAF), list(LEAF)], [2000, 4000, 10_000], {}
    hours: list[Any] = [400_000, 400_001]
    for (kind, *at), value in changes:
        if kind == "leaf":
            leaves[at[0]][at[1]] = value
        elif kind == "sums":
            sums = value if not at else [*sums[: at[0]], value, *sums[at[0] + 1 :]]  # type: ignore[index]
            sums = sums if isinstance(sums, list) and len(sums) == 3 else [0, 0, 0]
        elif kind == "hours":
            hours[at[0]] = value
            header["hours"] = hours
        else:
            header[at[0]] = value
    data = export_bytes(HOSTILE_KEY, [tuple(leaf) for leaf in leaves], sums, header)
    folder = tmp_path_factory.mktemp("fleet")
    page, _ = fleet(folder, ("hostile.ugsd", data), forms=("md", "json"))
    assert_honest_row_stays(page)
    assert main(["audit", "verify", str(folder / "hostile.ugsd")]) in {0, 1}


@pytest.mark.parametrize(
    "filling",
    [
        b'"days":[' + b"{}," * 10**6 + b"{}]",
        b'"days":[' + b"0," * 10**6 + b"0]",
        b",".join(b'"%x":0' % n for n in range(10**6)),
        b'"total":{' + b",".join(b'"%x":0' % n for n in range(10**6)) + b"}",
        b'"user":' + b"[" * 10**6,
        b'"caps":' + b'[{"cap":' * 10**5,
    ],
    ids=["empty objects", "numbers", "keys", "keys inside", "arrays", "nested objects"],
)
def test_million_faults_are_refused_soon(filling: bytes) -> None:
    data = json.dumps(HOSTILE_REPORT).encode()[:-1] + b"," + filling + b"}"
    started = time.process_time()
    with pytest.raises(ReportRejected):
        read_report(data)
    assert time.process_time() - started < 5


def test_report_with_many_values_is_not_parsed() -> None:
    with pytest.raises(ReportRejected, match="more than 4000000 values"):
        read_report(b'{"days":[' + b"0," * 10**7 + b"0]}")


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, MemoryError])
def test_unexpected_error_costs_one_row(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error("secret words")

    monkeypatch.setattr(fleet_module, "_check_report", lambda d, e: d.report and broken())
    rows = [
        verify_device(Device("hostile", read_report(json.dumps(HOSTILE_REPORT).encode()))),
        verify_device(Device("silent")),
    ]
    found = {row.device: row.verification for row in merge_rows(rows).devices}
    assert found["hostile"].outcome == "failed"
    assert error.__name__ in found["hostile"].message
    assert "secret" not in found["hostile"].message
    assert found["silent"].outcome == "missing"


def test_pipes_and_folders_among_files_cost_one_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.ugsd").mkdir()
    names = [str(tmp_path / name) for name in ("pipe.json", "folder.ugsd")]
    (tmp_path / "honest.ugsd").write_bytes(HONEST_EXPORT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main(["audit", "fleet", *names, str(tmp_path / "honest.ugsd"), "--format", "json"])
    rows = {row["device"]: row["verification"] for row in json.loads(out.getvalue())["devices"]}
    assert code == 1
    assert sorted(row["outcome"] for row in rows.values()) == ["failed", "failed", "verified"]
    assert main(["audit", "verify", names[0]]) == 1


def test_counts_of_tampered_ledger_are_bounded() -> None:
    fields = dict.fromkeys(LedgerRow._fields, MOST) | {"caption": None}
    entries = [Entry(LedgerRow(**fields), None)] * 3
    assert total_of(entries).bytes == MOST


def test_reasons_of_applications_are_counted_within_bounds() -> None:
    rows = tuple(
        ReasonRow(outcome="local", reason=word, is_cap=False, blocks=MOST)
        for word in ("mine", "yours")
    )
    shared = REPORT.model_copy(update={"reasons": rows, "log": ""}).redacted()
    assert read_report(shared.model_dump_json().encode()).reasons[0].blocks == MOST


def test_every_foreign_reader_raises_its_own_errors(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(b'{"index":0,' + b",".join(b'"%x":0' % n for n in range(10**6)) + b"}")
    started = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert main(["audit", "verify", str(path), "--log-key", KEY.public.to_text()]) == 1
    assert "neither a receipt nor a proof" in err.getvalue()
    assert time.process_time() - started < 5
    assert issubclass(ReportRejected, PrivacyError)
