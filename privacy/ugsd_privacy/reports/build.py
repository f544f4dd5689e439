"""Build a report from a user's entries. Pure: all data, times and words are arguments."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ugsd_privacy.budget import CAPS, BudgetLimits, Usage, Window
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reasons import Reason, ReasonCode, reason_label
from ugsd_privacy.reports.captions import caption_rows
from ugsd_privacy.reports.entries import (
    Cost,
    Entry,
    Period,
    costs_of,
    guarantee_of,
    total_of,
)
from ugsd_privacy.reports.model import (
    CapRow,
    DayRow,
    HandshakeRow,
    Protection,
    ReasonRow,
    Report,
    ResetRow,
)
from ugsd_privacy.reports.parts import Verification
from ugsd_privacy.reports.readings import ReadState, no_reading

__all__ = ["BudgetState", "Protections", "ReportedLog", "build_report"]


@dataclass(frozen=True)
class BudgetState:
    """A user's caps and what they used of them, by the settings and the ledger as they are now."""

    configured: BudgetLimits
    on_device: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[Window, Usage] = field(default_factory=dict)

    def rows(self) -> tuple[CapRow, ...]:
        """Return the caps that are set, in the order in which they are checked."""
        limits = self.configured.with_stricter_caps(self.on_device)
        remaining = limits.remaining(self.used)
        return tuple(self._row(cap, limits, remaining[cap]) for cap in CAPS if cap in remaining)

    def _row(self, cap: str, limits: BudgetLimits, remaining: float) -> CapRow:
        measure, _, window = cap.partition("_per_")
        usage = {str(name): usage for name, usage in self.used.items()}.get(window, Usage())
        used = usage.measured(measure, limits.delta)
        is_per_use = window in {"caption", "recording"}
        return CapRow(
            cap=cap,
            configured=getattr(self.configured, cap),
            on_device=self.on_device.get(cap),
            used=None if is_per_use or math.isinf(used) else used,
            remaining=None if is_per_use else remaining,
            is_met=not is_per_use and not remaining,
        )


@dataclass(frozen=True)
class ReportedLog:
    """The log of a report, and the result of its verification."""

    verification: Verification
    key: str = ""
    checkpoint: str = ""
    subject: str = ""
    """A pseudonym of the user."""
    faults: tuple[str, ...] = ()
    """What could not be read apart from the log."""


@dataclass(frozen=True)
class Protections:
    """Sentences on what is protected and what is not, always and for each way of sending."""

    never_sent: tuple[str, ...] = ()
    unprotected: tuple[str, ...] = ()
    disclosures: tuple[Protection, ...] = ()


def build_report(
    entries: Sequence[Entry],
    *,
    user: str,
    period: Period,
    made_s: int,
    log: ReportedLog,
    budget: BudgetState,
    decisions: Sequence[JournalRow] = (),
    protections: Protections = Protections(),  # frozen
    words: Callable[[int], str] = lambda token: "",
    read_state: ReadState = no_reading,
    vocabulary: str = "",
) -> Report:
    """Build the report of ``user`` from their ``entries`` and ``decisions``.

    ``words`` returns the text of a token in the vocabulary of the drafter ``vocabulary``, and
    ``read_state`` the reading of a state. All of a caption is listed in the period in
    which its first frame was sent.
    """
    delta = budget.configured.delta
    within = [entry for entry in entries if entry.time_s in period]
    privacy_cost = budget.used.get("lifetime", Usage()).privacy_cost
    *_, (_, costs) = [(0, frozenset[Cost]()), *_lifetime(entries)]
    return Report(
        made_s=made_s,
        since_s=period.since_s,
        until_s=period.until_s,
        user=user,
        subject=log.subject,
        log=log.key,
        checkpoint=log.checkpoint,
        vocabulary=vocabulary,
        verification=log.verification,
        faults=log.faults,
        total=total_of(within),
        earlier=total_of(e for e in entries if e.time_s < period.since_s).frames,
        later=total_of(e for e in entries if e.time_s >= period.until_s).frames,
        lifetime=guarantee_of(privacy_cost, delta, "lifetime", costs),
        days=tuple(_days(entries, period, delta)),
        caps=budget.rows(),
        captions=tuple(caption_rows(entries, period, decisions, delta, words, read_state)),
        handshakes=tuple(_handshakes(within)),
        resets=tuple(
            ResetRow(record=e.row.leaf, time_s=e.time_s, windows=e.record.resets)
            for e in within
            if e.record is not None and e.record.resets
        ),
        reasons=tuple(_reasons([d for d in decisions if d.time_s in period])),
        never=protections.never_sent,
        protections=protections.disclosures,
        unprotected=protections.unprotected,
    )


def _days(entries: Sequence[Entry], period: Period, delta: float) -> Iterator[DayRow]:
    by_day: defaultdict[str, list[Entry]] = defaultdict(list)
    at_end = dict[str, tuple[int, frozenset[Cost]]]()
    for entry, lifetime in zip(entries, _lifetime(entries), strict=True):
        if entry.time_s in period:
            day = datetime.fromtimestamp(entry.time_s, UTC).date().isoformat()
            by_day[day].append(entry)
            at_end[day] = lifetime
    for day, own in sorted(by_day.items()):
        privacy_cost = sum(entry.privacy_cost for entry in own)
        costs = frozenset[Cost]().union(*map(costs_of, own))
        until_end, costs_until_end = at_end[day]
        yield DayRow(
            day=day,
            amounts=total_of(own),
            captions=len({entry.row.caption for entry in own} - {None}),
            epsilon=guarantee_of(privacy_cost, delta, "day", costs),
            lifetime=guarantee_of(until_end, delta, "lifetime", costs_until_end),
        )


def _lifetime(entries: Sequence[Entry]) -> Iterator[tuple[int, frozenset[Cost]]]:
    """Yield, after each entry, the privacy cost of the lifetime's window and what it is for."""
    total, costs = Usage(), frozenset[Cost]()
    for entry in entries:
        total += Usage(privacy_cost=entry.privacy_cost)
        costs |= costs_of(entry)
        if entry.record is not None and "lifetime" in entry.record.resets:
            total, costs = Usage(), frozenset()
        yield total.privacy_cost, costs


def _handshakes(within: Sequence[Entry]) -> Iterator[HandshakeRow]:
    by_key: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in within:
        if entry.row.caption is None and entry.row.frames:
            by_key["" if entry.record is None else entry.record.verifier].append(entry)
    for key, entries in by_key.items():
        yield HandshakeRow(
            verifier=key,
            handshakes=len(entries),
            first_s=min(entry.time_s for entry in entries),
            last_s=max(entry.time_s for entry in entries),
            bytes=total_of(entries).bytes,
        )


def _reasons(decisions: Sequence[JournalRow]) -> Iterator[ReasonRow]:
    """Count the blocks for each reason, the most frequent first, without the reasons' numbers."""
    counts = Counter(found for decision in decisions if (found := _row_of(decision)) is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for (outcome, reason, code), blocks in ordered:
        is_cap = code is ReasonCode.CAP_EXCEEDED and reason in CAPS
        yield ReasonRow(outcome=outcome, reason=reason, code=code, is_cap=is_cap, blocks=blocks)


_Found = tuple[Literal["local", "blocked", "verifier_disabled", "unanswered"], str, ReasonCode]


def _row_of(decision: JournalRow) -> _Found | None:
    reason = decision.reason
    match decision.outcome:
        case "sent":
            return None if reason.failure is None else ("unanswered", *_brief(reason.failure))
        case "verifier_disabled":
            return "verifier_disabled", *_brief(reason.failure or reason)
        case "local" | "blocked" as outcome:
            return outcome, *_brief(reason)
        case _:
            return None


def _brief(reason: Reason) -> tuple[str, ReasonCode]:
    """Return a reason without its numbers: the cap's name, the label of the code, or an
    application's words up to a colon."""
    code = reason.code
    if code is ReasonCode.CAP_EXCEEDED and reason.cap in CAPS:
        return reason.cap, code
    if code is ReasonCode.APPLICATION and reason.words is not None:
        return plain_line(reason.words.partition(":")[0]), code
    return reason_label(code), code
