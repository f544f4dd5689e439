"""How times, amounts and guarantees read in a report, whatever it is written in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.output.plain_text import MOST_CHARACTERS, plain_line
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.model import CapRow, CaptionRow, Gap, Reason, Report
from ugsd_privacy.reports.parts import Amounts, Verification

__all__ = [
    "BUDGET_NOTE",
    "MOST_CHARACTERS",
    "OUTCOMES",
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
    "plain_words",
    "plural",
    "remaining_text",
    "time",
    "unreported",
    "used_text",
    "vectors",
    "verdict",
    "witness_of",
]

OUTCOMES: Mapping[str, str] = {
    "kept": "kept here by the policy",
    "withheld": "wanted, and withheld",
    "alone": "not judged, after such a block",
    "unanswered": "left, and no answer was used",
}
"""Of blocks."""
VERDICTS: Mapping[str, str] = {
    "verified": "The log verifies",
    "failed": "The log does NOT verify",
    "empty": "Nothing has left",
    "missing": "The log did not come",
}
SELF_REPORTED_NOTE = (
    "What a log counts is proven where it was verified here, from its export. Amounts, caps and "
    "reasons are what each device says of itself, which whoever owns it could have made up."
)


BUDGET_NOTE = (
    "As the settings of this report and the owner have it now; an app that was given other "
    "settings kept to those."
)
UNPROVEN_NOTE = "What follows is what the damaged log says; nothing proves it."


_LAST_S = 253_402_300_799
"""Of the last year that has a date."""
_LARGE = 1e15


def plural(count: int, what: str) -> str:
    """So many of something."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def num_refused(reasons: Sequence[Reason]) -> int:
    """Blocks that the policy would have sent, and that stayed or left in vain."""
    return sum(reason.blocks for reason in reasons if reason.outcome != "kept")


def date(time_s: int) -> str:
    """UTC."""
    return datetime.fromtimestamp(min(time_s, _LAST_S), UTC).strftime("%Y-%m-%d")


def time(time_s: int, *, to_the_hour: bool = False) -> str:
    """UTC, to the second; or to the hour, where that is all that is known."""
    form = "%Y-%m-%d %H:..:.." if to_the_hour else "%Y-%m-%d %H:%M:%S"
    return datetime.fromtimestamp(min(time_s, _LAST_S), UTC).strftime(form)


def period(report: Report | FleetReport | FleetRow) -> str:
    """From its first to its last day."""
    if not report.until_s:
        return "at no time that is known"
    return f"{date(report.since_s)} to {date(report.until_s - 1)}"


def number(value: float | None) -> str:
    """An amount or a limit; ``None`` is none."""
    if value is None:
        return "none"
    if value >= _LARGE:
        return f"{value:.3g}"
    return f"{int(value):,}" if value == int(value) else f"{value:.3g}"


def vectors(amounts: Amounts) -> str:
    """How many left, as far as it is known."""
    if not amounts.hidden:
        return number(amounts.states)
    return f"at least {number(amounts.states + amounts.hidden)}"


def unreported(row: CaptionRow) -> str:
    """Why a caption's words are not all there, or there are none."""
    why = [
        f"{plural(count, 'frame')} {what}"
        for count, what in ((row.erased, "erased by the owner"), (row.unread, "sealed or damaged"))
        if count
    ]
    if why:
        return ", ".join(why)
    return "" if row.content else "a cover, which carries nothing"


def gap(part: Gap) -> str:
    """What stands in place of tokens that did not leave."""
    whose = {
        "kept": "stayed here",
        "verifier": "of the verifier's own",
        "unknown": "that left and cannot be read, or are the verifier's own",
    }[part.origin]
    return f"… {plural(part.tokens, 'token')} {whose} …"


def indices(records: Sequence[int]) -> str:
    """Of records in the log, ascending: ``3-5, 9``."""
    runs: list[list[int]] = []
    for index in records:
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return ", ".join("-".join(map(str, run)) for run in runs)


def outside_period(report: Report) -> str:
    """What left of the user at other times, which the report tells nothing of."""
    told = [
        f"{plural(count, 'frame')} {when}"
        for count, when in ((report.earlier, "before"), (report.later, "after"))
        if count
    ]
    return f"Not told of here: {' and '.join(told)} this time." if told else ""


def used_text(cap: CapRow) -> str:
    """What was used of a cap; epsilon, which is a claim, is rounded up."""
    if cap.cap.endswith("_caption"):
        return "each"
    if cap.used is None:
        return "unbounded"
    return _epsilon(cap.used, math.ceil) if cap.cap.startswith("epsilon") else number(cap.used)


def remaining_text(cap: CapRow) -> str:
    """What is left of a cap; epsilon is rounded down."""
    if cap.left is None:
        return "each"
    if cap.is_met:
        return "0: met"
    return _epsilon(cap.left, math.floor) if cap.cap.startswith("epsilon") else number(cap.left)


def bound(guarantee: Guarantee | None) -> str:
    """A guarantee in half a line; where no vector left, none is needed."""
    return "no vectors" if guarantee is None else guarantee.text()


def fleet_verdict(fleet: FleetReport) -> str:
    """Of all logs, in one line."""
    count = Counter[str](row.verification.outcome for row in fleet.devices)
    total = len(fleet.devices)
    failed = "does NOT verify" if count["failed"] == 1 else "do NOT verify"
    wrong = [
        f"{count[outcome]} of {plural(total, 'log')} {what}"
        for outcome, what in (("failed", failed), ("missing", "did not come"))
        if count[outcome]
    ]
    if wrong or not count["verified"]:
        return "; ".join(wrong) or "Nothing has left"
    own = sum(row.verified_by == "device" for row in fleet.devices)
    if not own:
        return "Every log verifies"
    return f"Nothing is known to be wrong; {own} of {plural(total, 'log')} by the device's own word"


def witness_of(row: FleetRow) -> str:
    """By whom a log was verified, and since when it is known."""
    if row.verification.outcome == "missing":
        return "nobody"
    by = "here, from its export" if row.verified_by == "reader" else "by itself"
    if row.earlier is None:
        return by
    return f"{by}; known before with {number(row.earlier)} records"


def verdict(found: Verification) -> str:
    """In one sentence, with the place of a failure."""
    where = "" if found.index is None else f" at record {found.index}"
    return f"{VERDICTS[found.outcome]}{where}: {found.message}"


def plain_words(text: str) -> str:
    """``text`` on one line, with nothing that turns, hides or colours what stands around it."""
    return plain_line(text)


def _epsilon(value: float, to_whole: Callable[[float], int]) -> str:
    if value >= _LARGE:
        return number(value)
    return number(to_whole(100 * value) / 100) if value < 10 else number(to_whole(10 * value) / 10)
