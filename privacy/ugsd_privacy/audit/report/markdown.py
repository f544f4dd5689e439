"""A report as Markdown (CommonMark with GitHub's tables), which needs no other software.

Words that left stand in bold, those that left before for the same place are struck through.
Everything that a drafter, a user or a verifier named is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ugsd_privacy.audit.report.model import CaptionRow, FleetReport, Gap, Report, Word
from ugsd_privacy.audit.report.telling import (
    OUTCOMES,
    OWN_WORD,
    bound,
    fleet_verdict,
    left,
    number,
    period,
    time,
    used,
    verdict,
    witness_of,
)

__all__ = ["fleet_markdown", "report_markdown"]

_MARKUP = re.compile(r"[\\`*_\[\]|~<>&@]|:(?=\S)|(?<=[Ww]{3})\.|^[#+=-]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
"""What would be more than text; at the start of a line, also what begins a list or a heading."""


def report_markdown(report: Report) -> str:
    """Of one device."""
    protection = report.protection
    parts = [
        f"# What left of {_plain(report.user or 'one user')}, {period(report)} (UTC)",
        f"**{_plain(verdict(report.verification))}**",
        _amounts(report),
        "## Captions",
        _table(
            ("time (UTC)", "what left", "discloses", "tokens", "numbers", "bytes", "guarantee"),
            map(_caption, report.captions),
        ),
        "## Days",
        _table(
            ("day", "captions", "blocks", "tokens", "bytes", "of the day", "of the lifetime"),
            (
                [
                    day.day,
                    *map(
                        number,
                        (day.captions, day.amounts.blocks, day.amounts.tokens, day.amounts.bytes),
                    ),
                    bound(day.epsilon),
                    bound(day.lifetime),
                ]
                for day in report.days
            ),
        ),
        "## Budget",
        _table(
            ("cap", "settings", "this device", "used", "left"),
            (
                [
                    cap.cap,
                    number(cap.configured),
                    "" if cap.on_device is None else number(cap.on_device),
                    used(cap),
                    left(cap),
                ]
                for cap in report.caps
            ),
        ),
        "## Blocks that stayed here, or left in vain",
        _table(
            ("what became of them", "why", "blocks"),
            ([OUTCOMES[r.outcome], r.reason, number(r.blocks)] for r in report.reasons),
        ),
        "## Keys and handshakes",
        _table(
            ("sealed for", "handshakes", "first (UTC)", "last (UTC)", "bytes"),
            (
                [
                    row.verifier,
                    number(row.handshakes),
                    time(row.first_s),
                    time(row.last_s),
                    number(row.bytes),
                ]
                for row in report.handshakes
            ),
        ),
        "## Resets by the owner",
        _table(
            ("record", "time (UTC)", "begun anew"),
            ([number(r.record), time(r.time_s), ", ".join(r.windows)] for r in report.resets),
        ),
        "## What is protected, and what is not",
        "### What leaves under the settings",
        _list(protection.leaves),
        "### What never leaves",
        _list(protection.never),
        "### What noise guarantees",
        _list(protection.bound),
        "### What attackers got in the lab",
        _list(protection.learnt),
        _plain(protection.source),
        "### What is not protected",
        _list(protection.unprotected),
        "## Proof",
        _proof(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def fleet_markdown(fleet: FleetReport) -> str:
    """Of many devices."""
    parts = [
        f"# What left of {len(fleet.devices)} devices, {period(fleet)} (UTC)",
        f"**{_plain(fleet_verdict(fleet))}**",
        _list(f"{row.device}: {verdict(row.verification)}" for row in fleet.failed)
        if fleet.failed
        else "",
        "## Devices",
        _table(
            (
                "device",
                "log",
                "verified",
                "records",
                "blocks",
                "tokens",
                "bytes",
                "lifetime",
                "caps met",
            ),
            (
                [
                    row.device,
                    row.verification.outcome,
                    witness_of(row),
                    *map(
                        number,
                        (
                            row.verification.size,
                            row.total.blocks,
                            row.total.tokens,
                            row.total.bytes,
                        ),
                    ),
                    bound(row.lifetime),
                    ", ".join(row.caps_met),
                ]
                for row in fleet.devices
            ),
        ),
        OWN_WORD,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _amounts(report: Report) -> str:
    total = report.total
    return (
        f"{number(total.frames)} frames with {number(total.bytes)} bytes left this device, in them "
        f"{number(total.blocks)} blocks of {number(len(report.captions))} captions: "
        f"{number(total.tokens)} tokens and {number(total.states)} vectors of numbers. "
        f"In a lifetime: {_plain(bound(report.lifetime))}."
    )


def _caption(row: CaptionRow) -> list[str | Sequence[Word | Gap]]:
    return [
        time(row.time_s),
        row.content,
        ", ".join(row.disclosures),
        number(row.amounts.tokens),
        number(row.amounts.states),
        number(row.amounts.bytes),
        bound(row.epsilon),
    ]


def _content(parts: Sequence[Word | Gap]) -> str:
    return " ".join(_gap(part) if isinstance(part, Gap) else _word(part) for part in parts)


def _gap(gap: Gap) -> str:
    whose = "stayed here" if gap.origin == "kept" else "are the verifier's own"
    return f"… {gap.tokens} tokens {whose} …"


def _word(word: Word) -> str:
    before = "".join(f"~~{_plain(text.strip() or 'end')}~~ " for text in word.replaced)
    text = word.text.strip() or ("end" if not word.text else "space")
    return f"{before}**{_plain(text)}**"


def _table(head: Sequence[str], rows: Iterable[Sequence[str | Sequence[Word | Gap]]]) -> str:
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if not lines:
        return "None."
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines])


def _cell(value: str | Sequence[Word | Gap]) -> str:
    return _plain(value) if isinstance(value, str) else _content(value)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines) or "None."


def _proof(report: Report) -> str:
    found = report.verification
    note = "\n".join(f"    {line}" for line in report.checkpoint.splitlines())
    told = (
        f"{number(found.size)} records under {number(found.checkpoints)} signed checkpoints, "
        f"{number(found.erased)} erased by the owner, {number(found.unread)} left sealed; "
        f"the log's key is {_plain(report.log or 'none yet')}."
    )
    return f"{told} Its latest checkpoint:\n\n{note}" if note else told


def _plain(text: str) -> str:
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))
