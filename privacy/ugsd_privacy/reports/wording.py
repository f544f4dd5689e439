"""Format times, amounts and guarantees for a report, in HTML and in Markdown alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.ledger.journal import VERIFIER_DISABLED_LABEL
from ugsd_privacy.output.plain_text import MOST_CHARACTERS
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.model import CapRow, CaptionRow, Gap, ReasonRow, Report
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.readings import READING_NOTE, reading_text

__all__ = [
    "BUDGET_NOTE",
    "MOST_CHARACTERS",
    "OUTCOMES",
    "READING_NOTE",
    "SELF_REPORTED_NOTE",
    "UNPROVEN_NOTE",
    "VERDICTS",
    "bound",
    "date",
    "fleet_verdict",
    "gap",
    "indices",
    "num_refused",
    "number",
    "outside_period",
    "period",
    "plural",
    "questions",
    "readings",
    "remaining_text",
    "states",
    "time",
    "unreported",
    "used_text",
    "verdict",
    "witness_of",
]

OUTCOMES: Mapping[str, str] = {
    "local": "kept on the device by the policy",
    "blocked": "blocked",
    "verifier_disabled": (
        f"{VERIFIER_DISABLED_LABEL}, because an earlier block was blocked or not verified"
    ),
    "unanswered": "sent, but not verified",
}
"""A block's outcome in words."""
VERDICTS: Mapping[str, str] = {
    "verified": "The log verifies",
    "failed": "The log does NOT verify",
    "other version": "The log was written by another release",
    "empty": "Nothing has been sent",
    "missing": "The log is missing",
    "unverified": "Reported by the device, not verified",
    "disputed": "The report is contradicted",
}
SELF_REPORTED_NOTE = (
    "The counts of a log are proven if the log was verified here, from its export. Amounts, caps "
    "and reasons are reported by each device; the owner of the device could have made them up."
)
BUDGET_NOTE = (
    "The caps are those of this report's settings and of the owner, as they are now. An app with "
    "other settings applied its own."
)
UNPROVEN_NOTE = "Everything below comes from the damaged log and is not proven."

_LAST_S = 253_402_300_799
"""The last second that ``datetime`` can show, in the year 9999."""
_LARGE = 1e15
_MOST_READINGS = 3


def plural(count: int, noun: str) -> str:
    """Return ``count`` with ``noun``, in the plural unless there is one."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def num_refused(reasons: Sequence[ReasonRow]) -> int:
    """Count the blocks that the policy chose to send, and that were not sent or not answered."""
    return sum(reason.blocks for reason in reasons if reason.outcome != "local")


def date(time_s: int) -> str:
    """Format a Unix time as a date in UTC."""
    return datetime.fromtimestamp(min(time_s, _LAST_S), UTC).strftime("%Y-%m-%d")


def time(time_s: int, *, to_the_hour: bool = False) -> str:
    """Format a Unix time in UTC, to the second, or only to the hour."""
    form = "%Y-%m-%d %H:..:.." if to_the_hour else "%Y-%m-%d %H:%M:%S"
    return datetime.fromtimestamp(min(time_s, _LAST_S), UTC).strftime(form)


def period(report: Report | FleetReport | FleetRow) -> str:
    """Format the first and the last day that a report covers."""
    if not report.until_s:
        return "an unknown period"
    return f"{date(report.since_s)} to {date(report.until_s - 1)}"


def number(value: float | None) -> str:
    """Format an amount or a limit; ``None`` means that there is none."""
    if value is None:
        return "none"
    if value >= _LARGE:
        return f"{value:.3g}"
    return f"{int(value):,}" if value == int(value) else f"{value:.3g}"


def states(amounts: Amounts) -> str:
    """Format how many states were sent; a lower bound if some records cannot be read."""
    if not amounts.hidden:
        return number(amounts.states)
    return f"at least {number(amounts.states + amounts.hidden)}"


def unreported(row: CaptionRow) -> str:
    """Explain why some or all words of a caption are missing; empty if none are."""
    causes = [
        f"{plural(count, 'frame')} {cause}"
        for count, cause in ((row.erased, "erased by the owner"), (row.unread, "sealed or damaged"))
        if count
    ]
    if causes:
        return ", ".join(causes)
    return "" if row.content else "a cover frame, without content"


def questions(row: CaptionRow) -> str:
    """Say what the blocks of a caption asked; empty if no record of one can be read."""
    if not row.questions:
        return ""
    return f"Asked {'; '.join(question.text() for question in row.questions)}."


def readings(row: CaptionRow) -> str:
    """Name the emotions that the verifier most likely reads from a caption's states; empty if none
    can be read."""
    if not row.readings:
        return ""
    shown = [reading_text(one.probabilities, one.sigma) for one in row.readings[:_MOST_READINGS]]
    rest = len(row.readings) - len(shown)
    more = [f"and {plural(rest, 'other reading')}"] if rest else []
    return f"Emotions read from the numbers: {'; '.join(shown + more)}"


def gap(part: Gap) -> str:
    """Describe the tokens that are not shown between those that were sent."""
    origin = {
        "kept": "kept on the device",
        "verifier": "written by the verifier",
        "unknown": "sent but unreadable, or written by the verifier",
    }[part.origin]
    return f"… {plural(part.tokens, 'token')} {origin} …"


def indices(records: Sequence[int]) -> str:
    """Format ascending record indices as ranges: ``3-5, 9``."""
    runs: list[list[int]] = []
    for index in records:
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return ", ".join("-".join(map(str, run)) for run in runs)


def outside_period(report: Report) -> str:
    """State how many frames were sent outside the period of the report; empty if none were."""
    counts = [
        f"{plural(count, 'frame')} {when}"
        for count, when in ((report.earlier, "before"), (report.later, "after"))
        if count
    ]
    return f"Not included here: {' and '.join(counts)} this period." if counts else ""


def used_text(cap: CapRow) -> str:
    """Format what was used of a cap. Epsilon is rounded up, so that it is never understated."""
    window = cap.cap.rpartition("_")[2]
    if window in {"caption", "recording"}:
        return f"per {window}"
    if cap.used is None:
        return "unbounded"
    return _epsilon(cap.used, math.ceil) if cap.cap.startswith("epsilon") else number(cap.used)


def remaining_text(cap: CapRow) -> str:
    """Format what remains of a cap. Epsilon is rounded down."""
    if cap.remaining is None:
        return f"per {cap.cap.rpartition('_')[2]}"
    if cap.is_met:
        return "0 (reached)"
    return (
        _epsilon(cap.remaining, math.floor)
        if cap.cap.startswith("epsilon")
        else number(cap.remaining)
    )


def bound(guarantee: Guarantee | None) -> str:
    """Format a guarantee; ``None`` means that no state was sent."""
    return "no states" if guarantee is None else guarantee.text()


def fleet_verdict(fleet: FleetReport) -> str:
    """Summarise the verdicts on all logs in one line."""
    count = Counter[str](row.verification.outcome for row in fleet.devices)
    total = len(fleet.devices)
    failed = "does NOT verify" if count["failed"] == 1 else "do NOT verify"
    missing = "is missing" if count["missing"] == 1 else "are missing"
    wrong = [
        f"{count[outcome]} of {plural(total, 'log')} {predicate}"
        for outcome, predicate in (
            ("failed", failed),
            ("other version", "of another version"),
            ("missing", missing),
        )
        if count[outcome]
    ]
    if count["disputed"]:
        wrong.append(f"{plural(count['disputed'], 'report')} contradicted")
    reported = sum(row.reports_failure for row in fleet.devices)
    if reported:
        wrong.append(f"{plural(reported, 'unverified report')} of a log that does NOT verify")
    if wrong:
        return "; ".join(wrong)
    if count["unverified"]:
        return (
            f"No fault was found; {count['unverified']} of {plural(total, 'log')} reported by the "
            "device, not verified"
        )
    return "Every log verifies" if count["verified"] else "Nothing has been sent"


def witness_of(row: FleetRow) -> str:
    """State where a log was verified, and how many of its records were known before."""
    if row.verification.outcome in {"other version", "missing", "unverified", "disputed"}:
        return "not verified"
    by = "here, from its export" if row.verified_by == "reader" else "by the device"
    if row.earlier is None:
        return by
    return f"{by}; {plural(row.earlier, 'record')} known before"


def verdict(found: Verification) -> str:
    """Return the verdict in one sentence, with the record at fault."""
    where = "" if found.index is None else f" at record {found.index}"
    return f"{VERDICTS[found.outcome]}{where}: {found.message}"


def _epsilon(value: float, to_whole: Callable[[float], int]) -> str:
    if value >= _LARGE:
        return number(value)
    return number(to_whole(100 * value) / 100) if value < 10 else number(to_whole(10 * value) / 10)
