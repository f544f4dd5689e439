"""From a ledger's rows to a report. Pure: what is read, when, and in whose words are arguments."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.report.model import (
    Amounts,
    CapRow,
    CaptionRow,
    DayRow,
    Gap,
    HandshakeRow,
    Protection,
    Reason,
    Report,
    ResetRow,
    Verification,
    Word,
)
from ugsd_privacy.audit.report.telling import words_without_tricks
from ugsd_privacy.budget import CAPS, BudgetLimits, Usage, Window
from ugsd_privacy.dp import Guarantee, Unit
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.ledger import Decision, LedgerRow, LedgerView
from ugsd_privacy.owner import OwnerKey

__all__ = ["Budget", "Entry", "Period", "gather", "read_entries"]

_SECONDS_PER_HOUR = 3600


class Entry(NamedTuple):
    """A leaf and its charge, with its record where that is neither erased, sealed nor damaged."""

    row: LedgerRow
    record: EgressRecord | None

    @property
    def time_s(self) -> int:
        """By the device's clock; to the hour where the record is erased."""
        if self.record is not None:
            return self.record.time_s
        return (self.row.hour or 0) * _SECONDS_PER_HOUR

    @property
    def spend(self) -> int:
        """Of its states."""
        return self.row.spend or 0

    @property
    def amounts(self) -> Amounts:
        """As it was charged."""
        row, record = self.row, self.record
        states = 0 if record is None else len(record.state_positions)
        return Amounts(
            frames=row.frames or 0,
            blocks=row.blocks or 0,
            tokens=row.tokens or 0,
            bytes=row.bytes or 0,
            states=states,
        )


@dataclass(frozen=True)
class Period:
    """From ``since_s`` until before ``until_s``, Unix time."""

    since_s: int
    until_s: int

    def __contains__(self, time_s: int) -> bool:
        return self.since_s <= time_s < self.until_s


@dataclass(frozen=True)
class Budget:
    """A user's caps and what they used, as settings and ledger have it now."""

    configured: BudgetLimits
    on_device: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[Window, Usage] = field(default_factory=dict)

    def rows(self) -> tuple[CapRow, ...]:
        """The caps that are set, in the order in which they are checked."""
        limits = self.configured.tightened(self.on_device)
        left = limits.left(self.used)
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


def read_entries(view: LedgerView, owner: OwnerKey | None, user: str) -> list[Entry]:
    """Every leaf charged to ``user`` in order, with what can be read of its record; damage is told
    by verification.

    Raises ``KeyFileError`` where the log is sealed to another owner's key.
    """
    reader = BodyReader(view, owner)
    return [Entry(row, _readable(reader, row)) for row in view.rows(user)]


def gather(
    entries: Sequence[Entry],
    *,
    user: str,
    period: Period,
    made_s: int,
    budget: Budget,
    decisions: Sequence[Decision],
    verification: Verification,
    protection: Protection,
    words: Callable[[int], str] = lambda token: "",
    vocabulary: str = "",
    log: str = "",
    checkpoint: str = "",
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
        log=log,
        checkpoint=checkpoint,
        vocabulary=vocabulary,
        verification=verification,
        total=Amounts.total(entry.amounts for entry in within),
        lifetime=_guarantee(spend, delta, "lifetime"),
        days=_days(entries, period, delta),
        caps=budget.rows(),
        captions=_captions(entries, period, decisions, delta, words),
        handshakes=_handshakes(within),
        resets=tuple(
            ResetRow(record=e.row.leaf, time_s=e.time_s, windows=e.record.resets)
            for e in within
            if e.record is not None and e.record.resets
        ),
        reasons=_reasons([decision for decision in decisions if decision.time_s in period]),
        protection=protection,
    )


def _readable(reader: BodyReader, row: LedgerRow) -> EgressRecord | None:
    try:
        found = reader.record(row)
    except LogTampered:
        return None
    return found if isinstance(found, EgressRecord) else None


def _guarantee(spend: int, delta: float, unit: Unit) -> Guarantee | None:
    return Guarantee.of_spend(spend, delta, unit) if spend else None


def _days(own: Sequence[Entry], period: Period, delta: float) -> tuple[DayRow, ...]:
    by_day: defaultdict[str, list[Entry]] = defaultdict(list)
    lifetime, at_end = Usage(), {}
    for entry in own:
        lifetime += Usage(spend=entry.spend)
        if entry.record is not None and "lifetime" in entry.record.resets:
            lifetime = Usage()
        if entry.time_s in period:
            day = datetime.fromtimestamp(entry.time_s, UTC).date().isoformat()
            by_day[day].append(entry)
            at_end[day] = lifetime.spend
    return tuple(
        DayRow(
            day=day,
            amounts=Amounts.total(entry.amounts for entry in entries),
            captions=len({entry.row.caption for entry in entries} - {None}),
            epsilon=_guarantee(sum(entry.spend for entry in entries), delta, "day"),
            lifetime=_guarantee(at_end[day], delta, "lifetime"),
        )
        for day, entries in sorted(by_day.items())
    )


def _captions(
    own: Sequence[Entry],
    period: Period,
    decisions: Sequence[Decision],
    delta: float,
    words: Callable[[int], str],
) -> tuple[CaptionRow, ...]:
    passages: defaultdict[bytes, list[Entry]] = defaultdict(list)
    for entry in own:
        if entry.row.caption is not None:
            passages[entry.row.caption].append(entry)
    noted: defaultdict[bytes, list[Decision]] = defaultdict(list)
    for decision in decisions:
        noted[decision.caption].append(decision)
    return tuple(
        _caption(caption, entries, noted[caption], delta, words)
        for caption, entries in passages.items()
        if entries[0].time_s in period
    )


def _caption(
    caption: bytes,
    entries: Sequence[Entry],
    decisions: Sequence[Decision],
    delta: float,
    words: Callable[[int], str],
) -> CaptionRow:
    records = [entry.record for entry in entries if entry.record is not None]
    return CaptionRow(
        caption=caption.hex(),
        time_s=entries[0].time_s,
        content=_content(records, decisions, words),
        records=tuple(entry.row.leaf for entry in entries),
        disclosures=tuple(dict.fromkeys(str(r.disclosure) for r in records if r.disclosure)),
        amounts=Amounts.total(entry.amounts for entry in entries),
        epsilon=_guarantee(sum(entry.spend for entry in entries), delta, "caption"),
        verifiers=tuple(dict.fromkeys(r.verifier for r in records)),
        erased=len(entries) - len(records),
    )


def _content(
    records: Sequence[EgressRecord],
    decisions: Sequence[Decision],
    words: Callable[[int], str],
) -> tuple[Word | Gap, ...]:
    """What left in the order of the caption, and how much between did not.

    A block's prefix begins where the verifier's own text ends (:class:`ugsd_privacy.wire.Block`):
    what is missing below that, the verifier wrote.
    """
    left: dict[int, Word] = {}
    for record in records:
        for position, token in enumerate((*record.prefix, *record.tokens), record.keep):
            before = left.get(position)
            left[position] = _word(position, token, record, before, words)
    parts: list[Word | Gap] = []
    end = 0
    for position in sorted(left):
        if position > end:
            parts.append(Gap(tokens=position - end, origin="verifier"))
        parts.append(left[position])
        end = position + 1
    kept = sum(d.tokens for d in decisions if d.start >= end and d.outcome != "sent")
    return (*parts, Gap(tokens=kept, origin="kept")) if kept else tuple(parts)


def _word(
    position: int,
    token: int,
    record: EgressRecord,
    before: Word | None,
    words: Callable[[int], str],
) -> Word:
    replaced: tuple[str, ...] = ()
    if before is not None:
        changed = before.token != token
        replaced = (*before.replaced, before.text) if changed else before.replaced
    return Word(
        position=position,
        token=token,
        text=words_without_tricks(words(token)),
        disclosure=str(record.disclosure),
        has_state=position in record.state_positions or (before is not None and before.has_state),
        replaced=replaced,
    )


def _handshakes(within: Sequence[Entry]) -> tuple[HandshakeRow, ...]:
    by_key: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in within:
        record = entry.record
        if entry.row.caption is None and entry.row.frames:
            by_key["" if record is None else record.verifier].append(entry)
    return tuple(
        HandshakeRow(
            verifier=key,
            handshakes=len(entries),
            first_s=min(entry.time_s for entry in entries),
            last_s=max(entry.time_s for entry in entries),
            bytes=sum(entry.amounts.bytes for entry in entries),
        )
        for key, entries in by_key.items()
    )


def _reasons(decisions: Sequence[Decision]) -> tuple[Reason, ...]:
    """How often each, most often first; the numbers that decided are left out."""
    counts = Counter(told for decision in decisions if (told := _told(decision)) is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Reason(outcome=outcome, reason=reason, is_cap=reason in CAPS, blocks=blocks)
        for (outcome, reason), blocks in ordered
    )


_Told = tuple[Literal["kept", "withheld", "alone", "unanswered"], str]


def _told(decision: Decision) -> _Told | None:
    why = decision.reason
    if decision.outcome == "sent":
        _, in_vain, why = why.partition("in vain: ")
        return ("unanswered", _brief(why)) if in_vain else None
    if decision.outcome == "alone":
        return "alone", _brief(why.partition(": ")[2])
    return ("withheld" if decision.outcome == "withheld" else "kept"), _brief(why)


def _brief(why: str) -> str:
    return words_without_tricks(why.partition(":")[0])
