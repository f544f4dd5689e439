"""How times, amounts and guarantees read in a report, whatever it is written in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ugsd_privacy.audit.report.model import CapRow, Verification
from ugsd_privacy.dp import Guarantee

__all__ = [
    "OUTCOMES",
    "VERDICTS",
    "bound",
    "date",
    "left",
    "number",
    "time",
    "used",
    "verdict",
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
}


def date(time_s: int) -> str:
    """UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")


def time(time_s: int) -> str:
    """UTC, to the minute."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M")


def number(value: float | None) -> str:
    """An amount or a limit; ``None`` is none."""
    if value is None:
        return "none"
    return f"{int(value):,}" if value == int(value) else f"{value:.3g}"


def used(cap: CapRow) -> str:
    """What was used of a cap; epsilon, which is a claim, is rounded up."""
    if cap.cap.endswith("_caption"):
        return "each"
    if cap.used is None:
        return "unbounded"
    return _epsilon(cap.used, math.ceil) if cap.cap.startswith("epsilon") else number(cap.used)


def left(cap: CapRow) -> str:
    """What is left of a cap; epsilon is rounded down."""
    if cap.left is None:
        return "each"
    return _epsilon(cap.left, math.floor) if cap.cap.startswith("epsilon") else number(cap.left)


def bound(guarantee: Guarantee | None) -> str:
    """A guarantee in half a line; of no states, none is needed."""
    return "no numbers left" if guarantee is None else guarantee.text()


def verdict(found: Verification) -> str:
    """In one sentence, with the place of a failure."""
    where = "" if found.index is None else f" at record {found.index}"
    return f"{VERDICTS[found.outcome]}{where}: {found.message}"


def _epsilon(value: float, to_whole: Callable[[float], int]) -> str:
    return number(to_whole(100 * value) / 100) if value < 10 else number(to_whole(10 * value) / 10)
