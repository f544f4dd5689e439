"""From a user's entries to a report. Pure: what is read, when, and whose words are arguments."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ugsd_privacy.budget import CAPS, BudgetLimits, Usage, Window
from ugsd_privacy.dp.accounting import Guarantee, Unit
from ugsd_privacy.ledger import BlockDecisionRow
from ugsd_privacy.reports.captions import caption_rows
from ugsd_privacy.reports.entries import Entry, Period, total_of
from ugsd_privacy.reports.model import (
    CapRow,
    DayRow,
    HandshakeRow,
    Protection,
    Reason,
    Report,
    ResetRow,
)
from ugsd_privacy.reports.parts import Verification
from ugsd_privacy.reports.wording import plain_words

__all__ = ["BudgetState", "Protections", "ReportedLog", "build_report"]


@dataclass(frozen=True)
class BudgetState:
    """A user's caps and what they used, as settings and ledger have it now."""

    configured: BudgetLimits
    on_device: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[Window, Usage] = field(default_factory=dict)

    def rows(self) -> tuple[CapRow, ...]:
        """The caps that are set, in the order in which they are checked."""
        limits = self.configured.with_stricter_caps(self.on_device)
        left = limits.remaining(self.used)
        return tuple(self._row(cap, limits, left[cap]) for cap in CAPS if cap in left)

    def _row(self, cap: str, limits: BudgetLimits, left: float) -> CapRow:
        measure, _, window = cap.partition("_per_")
        usage = {str(name): usage for name, usage in self.used.items()}.get(window, Usage())
        used = usage.measured(measure, limits.delta)
        each = window == "caption"
        return CapRow(
            cap=cap,
            configured=getattr(self.configured, cap),
            on_device=self.on_device.get(cap),
            used=None if each or math.isinf(used) else used,
            left=None if each else left,
            is_met=not each and not left,
        )


@dataclass(frozen=True)
class ReportedLog:
    """The log that a report is of, and what was found of it."""

    verification: Verification
    key: str = ""
    checkpoint: str = ""
    subject: str = ""
    """What stands for the user."""
    faults: tuple[str, ...] = ()
    """What beside the log could not be read."""


@dataclass(frozen=True)
class Protections:
    """What is protected and what is not, in sentences: always, and of each way of leaving."""

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
    decisions: Sequence[BlockDecisionRow] = (),
    protections: Protections = Protections(),  # frozen
    words: Callable[[int], str] = lambda token: "",
    vocabulary: str = "",
) -> Report:
    """The report of ``user``, whose ``entries`` and ``decisions`` these are.

    ``words`` is the text of a token, of the drafter ``vocabulary``. A caption counts whole,
    where its first frame left.
    """
    delta = budget.configured.delta
    within = [entry for entry in entries if entry.time_s in period]
    spend = budget.used.get("lifetime", Usage()).spend
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
        lifetime=_guarantee(spend, delta, "lifetime"),
        days=tuple(_days(entries, period, delta)),
        caps=budget.rows(),
        captions=tuple(caption_rows(entries, period, decisions, delta, words)),
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


def _guarantee(spend: int, delta: float, unit: Unit) -> Guarantee | None:
    return Guarantee.from_privacy_cost(spend, delta, unit) if spend else None


def _days(entries: Sequence[Entry], period: Period, delta: float) -> Iterator[DayRow]:
    by_day: defaultdict[str, list[Entry]] = defaultdict(list)
    lifetime, at_end = Usage(), {}
    for entry in entries:
        lifetime += Usage(spend=entry.spend)
        if entry.record is not None and "lifetime" in entry.record.resets:
            lifetime = Usage()
        if entry.time_s in period:
            day = datetime.fromtimestamp(entry.time_s, UTC).date().isoformat()
            by_day[day].append(entry)
            at_end[day] = lifetime.spend
    for day, own in sorted(by_day.items()):
        yield DayRow(
            day=day,
            amounts=total_of(own),
            captions=len({entry.row.caption for entry in own} - {None}),
            epsilon=_guarantee(sum(entry.spend for entry in own), delta, "day"),
            lifetime=_guarantee(at_end[day], delta, "lifetime"),
        )


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


def _reasons(decisions: Sequence[BlockDecisionRow]) -> Iterator[Reason]:
    """How often each, most often first; the numbers that decided are left out."""
    counts = Counter(told for decision in decisions if (told := _formatted(decision)) is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for (outcome, reason), blocks in ordered:
        yield Reason(outcome=outcome, reason=reason, is_cap=reason in CAPS, blocks=blocks)


_FormattedDecision = tuple[Literal["kept", "withheld", "alone", "unanswered"], str]


def _formatted(decision: BlockDecisionRow) -> _FormattedDecision | None:
    why = decision.reason
    if decision.outcome == "sent":
        _, in_vain, why = why.partition("in vain: ")
        return ("unanswered", _brief(why)) if in_vain else None
    if decision.outcome == "alone":
        return "alone", _brief(why.partition(": ")[2])
    if decision.outcome == "withheld":
        return "withheld", _brief(why)
    return ("kept", _brief(why)) if decision.outcome == "kept" else None


def _brief(why: str) -> str:
    return plain_words(why.partition(":")[0])
