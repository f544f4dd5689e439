"""What a report of many devices says, without content."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reports.model import DayRow, ReasonRow
from ugsd_privacy.reports.parts import Amounts, Count, Part, Several, Time, Verification

__all__ = ["FleetReport", "FleetRow"]

_AT_FAULT = ("failed", "missing", "disputed")


class FleetRow(Part):
    """One user of one device, or a device's log alone."""

    device: str
    """The name of its log, which its key makes, where an export proves that it is of it; else the
    file that came, or what the reader calls it."""
    subject: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    """Stands for the user; empty without a report."""
    log: str
    """The public key of the log that an export was sealed by, or that was kept; else empty."""
    claims: str = ""
    """The public key of the log that a report without an export claims to be of."""
    reports_failure: bool = False
    """Whether a report without an export says that its log does not verify."""
    verification: Verification
    """Of the whole log."""
    verified_by: Literal["reader", "device"]
    """`reader` where this verdict was reached from what came, `device` where it is what the device
    says of itself."""
    earlier: Count | None
    """Records of the checkpoint that was kept of it the last time; null where none was."""
    logged: Amounts | None
    """What the whole log counts, of all users and times, from a verified export: blocks, tokens and
    bytes, the others are not told there. Null without such an export."""
    checkpoint: str
    """Its latest signed one."""
    since_s: Time
    """Of its report, Unix time; without one, of the hours in its export; 0 where nothing tells."""
    until_s: Time
    """The second after the last."""
    is_reported: bool
    """Whether its report came."""
    total: Amounts
    """What left by its report."""
    lifetime: Guarantee | None
    """As in its report."""
    days: Several[DayRow]
    """As in its report."""
    caps_met: Several[str]
    """Caps that nothing more fits under."""
    resets: Count
    """By the owner, in the period."""
    reasons: Several[ReasonRow]
    """As in its report."""

    @property
    def is_at_fault(self) -> bool:
        """Whether somebody has to look at it."""
        return self.verification.outcome in _AT_FAULT or self.reports_failure


class FleetReport(Part):
    """Many devices, without content."""

    format: Literal["ugsd-fleet/1"] = "ugsd-fleet/1"
    """Of this file."""
    since_s: Time
    """The first second of any report, Unix time."""
    until_s: Time
    """The second after the last of any."""
    total: Amounts
    """What left by all reports together that are not disputed."""
    devices: Several[FleetRow]
    """Those whose log does not verify come first, then those that did not come."""

    @property
    def failed(self) -> tuple[FleetRow, ...]:
        """Devices whose log does not verify or did not come, and reports that are contradicted, or
        say that their log does not verify."""
        return tuple(row for row in self.devices if row.is_at_fault)
