"""Write a report as Markdown: CommonMark with GitHub's tables.

Words that were sent are bold; words that were later replaced are struck through. All text that a
drafter, a user or a verifier chose is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.model import (
    CapRow,
    CaptionRow,
    DayRow,
    Gap,
    HandshakeRow,
    Protection,
    Report,
    Sent,
    Word,
)
from ugsd_privacy.reports.wording import (
    BUDGET_NOTE,
    OUTCOMES,
    READING_NOTE,
    SELF_REPORTED_NOTE,
    UNPROVEN_NOTE,
    bound,
    fleet_verdict,
    gap,
    indices,
    num_refused,
    number,
    outside_period,
    period,
    plural,
    questions,
    readings,
    remaining_text,
    states,
    time,
    unreported,
    used_text,
    verdict,
    witness_of,
)

__all__ = ["fleet_markdown", "report_markdown"]

STATE_MARK = "°"
LEGEND = (
    f"Words in **bold** were sent; a {STATE_MARK} marks one that was sent with a state, "
    "which is numbers about the clip. Words ~~struck through~~ were sent too, and later replaced "
    "by others that were sent. The log does not contain the verifier's answers."
)

_MARKUP = re.compile(r"[\\`*_\[\]|~<>&@]|:(?=\S)|(?<=[Ww]{3})\.|^[#+=-]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
"""These match what Markdown would not read as text, list and heading markers included."""


def report_markdown(report: Report) -> str:
    """Return the report of one device as Markdown."""
    failed = report.verification.outcome == "failed"
    parts = [
        f"# What was sent for {_plain(report.user or 'one user')}, {period(report)} (UTC)",
        f"**{_plain(verdict(report.verification))}**",
        UNPROVEN_NOTE if failed else "",
        _amounts(report),
        *(f"**Not part of the log: {_plain(fault)}**" for fault in report.faults),
        "## Captions",
        *_captions(report),
        "## Days",
        _table(
            (
                "day (UTC)",
                "captions",
                "blocks",
                "tokens",
                "states",
                "bytes",
                "guarantee of the day",
                "lifetime guarantee so far",
            ),
            map(_day, report.days),
        ),
        "## Budget",
        BUDGET_NOTE,
        _table(("cap", "settings", "this device", "used", "remaining"), map(_cap, report.caps)),
        "## Blocks not sent, or sent but not verified",
        _table(
            ("outcome", "reason", "blocks"),
            ([OUTCOMES[r.outcome], r.reason, number(r.blocks)] for r in report.reasons),
        ),
        "## Keys and handshakes",
        _table(
            ("sealed for", "handshakes", "first (UTC)", "last (UTC)", "bytes"),
            map(_handshakes, report.handshakes),
        ),
        "## Resets by the owner",
        _table(
            ("record", "time (UTC)", "windows"),
            ([number(r.record), time(r.time_s), ", ".join(r.windows)] for r in report.resets),
        ),
        "## What is protected, and what is not",
        "### What is never sent",
        _list(report.never),
        *map(_protection, report.protections),
        "### What is not protected",
        _list(report.unprotected),
        "## Proof",
        _proof(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def fleet_markdown(fleet: FleetReport) -> str:
    """Return the report of many devices as Markdown."""
    failed = [f"{row.device}: {verdict(row.verification)}" for row in fleet.failed]
    parts = [
        f"# What was sent by {plural(len(fleet.devices), 'device')}, {period(fleet)} (UTC)",
        f"**{_plain(fleet_verdict(fleet))}**",
        _list(failed) if failed else "",
        "## Logs",
        _table(
            ("device", "log", "verified", "records", "bytes in the log"), map(_log, fleet.devices)
        ),
        SELF_REPORTED_NOTE,
        "## What they report",
        _table(
            (
                "device",
                "days (UTC)",
                "blocks",
                "tokens",
                "bytes",
                "lifetime guarantee",
                "unverified blocks",
                "caps reached",
                "resets",
            ),
            (_reported(row) for row in fleet.devices if row.is_reported),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _log(row: FleetRow) -> list[str]:
    return [
        row.device,
        row.verification.outcome,
        witness_of(row),
        number(row.verification.size),
        number(row.logged.bytes) if row.logged else "not proven",
    ]


def _reported(row: FleetRow) -> list[str]:
    return [
        row.device,
        period(row),
        *map(number, (row.total.blocks, row.total.tokens, row.total.bytes)),
        bound(row.lifetime),
        number(num_refused(row.reasons)),
        ", ".join(row.caps_met),
        number(row.resets),
    ]


def _amounts(report: Report) -> str:
    total = report.total
    return (
        f"This device sent {plural(total.frames, 'frame')} with {plural(total.bytes, 'byte')}. "
        f"They contain {plural(total.blocks, 'block')} with {plural(total.tokens, 'token')}, and "
        f"states: {states(total)}. "
        f"Lifetime guarantee: {_plain(bound(report.lifetime))}. "
        f"{outside_period(report)}"
    ).strip()


def _captions(report: Report) -> tuple[str, ...]:
    if report.content == "left out":
        return ("Left out: only the owner may read the words that were sent.",)
    head = (
        "time (UTC)", "records", "what was sent", "disclosure", "tokens", "states", "bytes",
        "guarantee",
    )  # fmt: skip
    table = _table(head, map(_caption, report.captions))
    if not report.captions:
        return (table,)
    is_read = any(row.readings for row in report.captions)
    return (f"{LEGEND} {READING_NOTE}" if is_read else LEGEND, table)


def _caption(row: CaptionRow) -> list[str | Cell]:
    return [
        time(row.time_s, to_the_hour=row.to_the_hour),
        indices(row.records),
        Cell(" ".join(filter(None, (_content(row.content), *map(_plain, _notes(row)))))),
        ", ".join(row.disclosures),
        number(row.amounts.tokens),
        states(row.amounts),
        number(row.amounts.bytes),
        bound(row.epsilon),
    ]


def _notes(row: CaptionRow) -> tuple[str, str, str]:
    return unreported(row), questions(row), readings(row)


def _day(day: DayRow) -> list[str]:
    found = day.amounts
    return [
        day.day,
        *map(number, (day.captions, found.blocks, found.tokens)),
        states(found),
        number(found.bytes),
        bound(day.epsilon),
        bound(day.lifetime),
    ]


def _cap(cap: CapRow) -> list[str]:
    on_device = "" if cap.on_device is None else number(cap.on_device)
    return [cap.cap, number(cap.configured), on_device, used_text(cap), remaining_text(cap)]


def _handshakes(row: HandshakeRow) -> list[str]:
    first, last = time(row.first_s), time(row.last_s)
    key = row.verifier or "unknown: the record is erased, sealed or damaged"
    return [key, number(row.handshakes), first, last, number(row.bytes)]


def _protection(way: Protection) -> str:
    parts = [f"### {_plain(way.title)}"]
    for title, lines in (
        ("What is sent when the device asks:", way.leaves),
        ("What the noise guarantees for the states:", way.bound),
        ("What attackers learnt from it in the lab:", way.learnt),
    ):
        if lines:
            parts += [title, _list(lines)]
    return "\n\n".join([*parts, _plain(way.source)] if way.source else parts)


def _content(parts: Sequence[Word | Gap]) -> str:
    return " ".join(gap(part) if isinstance(part, Gap) else _word(part) for part in parts)


def _word(word: Word) -> str:
    before = "".join(f"~~{_text(sent)}~~ " for sent in word.replaced)
    return f"{before}**{_text(word)}**"


def _text(sent: Sent) -> str:
    text = _plain(sent.text.strip()) or ("end" if not sent.text else "space")
    return text + STATE_MARK if sent.has_state else text


def _table(head: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> str:
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if not lines:
        return "None."
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines])


class Cell(str):
    """Text that is Markdown already and is not escaped again."""

    __slots__ = ()


def _cell(value: str | Cell) -> str:
    return value if isinstance(value, Cell) else _plain(value)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines) or "None."


def _proof(report: Report) -> str:
    found = report.verification
    lines = report.checkpoint.splitlines()
    note = "\n".join(f"    {plain_line(line)}" for line in lines)
    summary = (
        f"{number(found.size)} records under {number(found.checkpoints)} signed checkpoints, "
        f"{number(found.erased)} erased by the owner, {number(found.unread)} still sealed; "
        f"the log's key is {_plain(report.log or 'none yet')}."
    )
    return f"{summary} Its latest checkpoint:\n\n{note}" if note else summary


def _plain(text: str) -> str:
    line = plain_line(" ".join(text.split()))
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", line))
