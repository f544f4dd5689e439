"""A user's part of a log, as a report reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ugsd_privacy.audit.bodies import BodyReader, BodyUnavailable
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import LedgerRow, LedgerView
from ugsd_privacy.reports.parts import MAX_COUNT, Amounts

__all__ = ["Entry", "Period", "read_entries", "total_of"]

_SECONDS_PER_HOUR = 3600
_LAST_S = 253_402_300_799
"""Of the year 9999."""


class Entry(NamedTuple):
    """A leaf and its charge, with its record where that is neither erased, sealed nor damaged.

    Of a ledger that was tampered with, what cannot be a count is read as none.
    """

    row: LedgerRow
    record: EgressRecord | None
    is_erased: bool = False

    @property
    def time_s(self) -> int:
        """By the device's clock; to the hour where the record cannot be read."""
        if self.record is not None:
            return self.record.time_s
        return min(_count(self.row.hour) * _SECONDS_PER_HOUR, _LAST_S)

    @property
    def spend(self) -> int:
        """Of its states."""
        return _count(self.row.spend)

    @property
    def amounts(self) -> Amounts:
        """As it was charged."""
        row, record = self.row, self.record
        return Amounts(
            frames=_count(row.frames),
            blocks=_count(row.blocks),
            tokens=_count(row.tokens),
            bytes=_count(row.bytes),
            states=0 if record is None else len(record.state_positions),
            hidden=int(record is None and self.spend > 0),
        )


@dataclass(frozen=True)
class Period:
    """From ``since_s`` until before ``until_s``, Unix time."""

    since_s: int
    until_s: int

    def __contains__(self, time_s: int) -> bool:
        return self.since_s <= time_s < self.until_s


def read_entries(view: LedgerView, owner: OwnerKey | None, user: str) -> list[Entry]:
    """Every leaf charged to ``user`` in order, with what can be read of its record; damage is told
    by verification.

    Raises ``KeyFileError`` where the log is sealed to another owner's key.
    """
    reader = BodyReader(view, owner)
    return [_entry(reader, row) for row in view.rows(user)]


def total_of(entries: Iterable[Entry]) -> Amounts:
    """What left with all of them. A ledger that was tampered with can count more than
    :data:`MAX_COUNT`; then that much."""
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
