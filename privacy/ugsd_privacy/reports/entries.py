"""Read the entries of one user from a ledger, for a report."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ugsd_privacy.audit.bodies import BodyReader, BodyUnavailable
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.dp.accounting import Guarantee, Unit
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import LedgerRow, LedgerView
from ugsd_privacy.reports.parts import MAX_COUNT, Amounts

__all__ = ["Cost", "Entry", "Period", "costs_of", "guarantee_of", "read_entries", "total_of"]

_SECONDS_PER_HOUR = 3600
_LAST_S = 253_402_300_799
"""The last second of the year 9999."""
Cost = Literal["states", "noised states", "draft weights", "unknown"]
"""What a privacy cost is for; unknown if the record cannot be read."""


class Entry(NamedTuple):
    """A leaf and its charge, with its record unless that is erased, sealed or damaged.

    In a ledger that was tampered with, a value that cannot be a count is read as 0.
    """

    row: LedgerRow
    record: EgressRecord | None
    is_erased: bool = False

    @property
    def time_s(self) -> int:
        """Time by the device's clock; only to the hour if the record cannot be read."""
        if self.record is not None:
            return self.record.time_s
        return min(_count(self.row.hour) * _SECONDS_PER_HOUR, _LAST_S)

    @property
    def privacy_cost(self) -> int:
        """Privacy cost of its states, as it was charged."""
        return _count(self.row.spend)

    @property
    def amounts(self) -> Amounts:
        """Amounts, as they were charged."""
        row, record = self.row, self.record
        return Amounts(
            frames=_count(row.frames),
            blocks=_count(row.blocks),
            tokens=_count(row.tokens),
            bytes=_count(row.bytes),
            states=0 if record is None else len(record.state_positions),
            hidden=int(record is None and self.privacy_cost > 0),
        )


@dataclass(frozen=True)
class Period:
    """The time from ``since_s`` until before ``until_s``, Unix time."""

    since_s: int
    until_s: int

    def __contains__(self, time_s: int) -> bool:
        return self.since_s <= time_s < self.until_s


def read_entries(view: LedgerView, owner: OwnerKey | None, user: str) -> list[Entry]:
    """Return every leaf charged to ``user`` in order, with its record if that can be read.

    Damaged records are not reported here; verification finds them. Raises ``KeyFileError`` if the
    log is sealed to another owner's key.
    """
    reader = BodyReader(view, owner)
    return [_entry(reader, row) for row in view.rows(user)]


def costs_of(entry: Entry) -> frozenset[Cost]:
    """Return what a leaf's privacy cost is for."""
    record = entry.record
    if record is None:
        return frozenset(["unknown"] if entry.privacy_cost else [])
    found: set[Cost] = set()
    if record.state_positions:
        found.add("states" if record.sigma is None else "noised states")
    if record.num_draft_weights:
        found.add("draft weights")
    return frozenset(found)


def guarantee_of(privacy_cost: int, delta: float, unit: Unit, costs: Set[Cost]) -> Guarantee | None:
    """Return the guarantee for a total privacy cost that is for ``costs``; ``None`` without any."""
    if not privacy_cost:
        return None
    only_states = costs == {"noised states", "draft weights"}
    return Guarantee.from_privacy_cost(
        privacy_cost, delta, unit, only_states_have_noise=only_states
    )


def total_of(entries: Iterable[Entry]) -> Amounts:
    """Return the sum of their amounts, each at most :data:`MAX_COUNT`, which a ledger that was
    tampered with can exceed."""
    total = Amounts.total(entry.amounts for entry in entries)
    return Amounts(**{name: min(amount, MAX_COUNT) for name, amount in total})


def _entry(reader: BodyReader, row: LedgerRow) -> Entry:
    try:
        found = reader.record(row)
    except LogTampered:
        return Entry(row, None)
    if isinstance(found, EgressRecord):
        return Entry(row, found)
    return Entry(row, None, found is BodyUnavailable.ERASED)


def _count(value: int | None) -> int:
    return max(0, value or 0)
