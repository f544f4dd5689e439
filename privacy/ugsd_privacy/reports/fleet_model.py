"""The report of many devices, without content."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reports.model import DayRow, ReasonRow
from ugsd_privacy.reports.parts import Amounts, Count, Part, Several, Time, Verification

__all__ = ["FleetReport", "FleetRow"]

_AT_FAULT = ("failed", "other version", "missing", "disputed")


class FleetRow(Part):
    """One user of one device, or only a device's log."""

    device: str
    """Name of its log, derived from the log's key, if an export proves it. Else the name of the
    file, or the name that the reader gave."""
    subject: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    """A pseudonym of the user; empty without a report."""
    log: str
    """Public key of the log, from a verified export or from an earlier time; else empty."""
    claims: str = ""
    """Public key of the log that a report without an export claims to belong to."""
    reports_failure: bool = False
    """Whether a report without an export says that its log does not verify."""
    verification: Verification
    """Result of verifying the whole log."""
    verified_by: Literal["reader", "device"]
    """`reader` if the verdict was reached here, `device` if the device reported it."""
    earlier: Count | None
    """Number of records in the checkpoint that was known before; null if none was."""
    logged: Amounts | None
    """Blocks, tokens and bytes of the whole log, of all users and times, from a verified export.
    The other amounts are not in an export. Null without such an export."""
    checkpoint: str
    """Its latest signed checkpoint."""
    since_s: Time
    """First second of its report, or else of the hours in its export, Unix time; 0 if unknown."""
    until_s: Time
    """First second after the same period."""
    is_reported: bool
    """Whether its report was given."""
    total: Amounts
    """What was sent, according to its report."""
    lifetime: Guarantee | None
    """The same as in its report."""
    days: Several[DayRow]
    """The same as in its report."""
    caps_met: Several[str]
    """Names of the caps of which nothing remains."""
    resets: Count
    """Number of resets by the owner in the period."""
    reasons: Several[ReasonRow]
    """The same as in its report."""

    @property
    def is_at_fault(self) -> bool:
        """Whether somebody must examine it."""
        return self.verification.outcome in _AT_FAULT or self.reports_failure


class FleetReport(Part):
    """A report of many devices, without content."""

    format: Literal["ugsd-fleet/1"] = "ugsd-fleet/1"
    """Format of this file."""
    since_s: Time
    """The first second of any report, Unix time."""
    until_s: Time
    """First second after the last report."""
    total: Amounts
    """What was sent, according to all reports together that are not disputed."""
    devices: Several[FleetRow]
    """Devices whose log does not verify come first, then those whose log is missing."""

    @property
    def failed(self) -> tuple[FleetRow, ...]:
        """Devices whose log does not verify or is missing, and reports that are contradicted or say
        that their log does not verify."""
        return tuple(row for row in self.devices if row.is_at_fault)
