"""Many devices' reports as one, without content."""

from __future__ import annotations

from collections.abc import Mapping

from ugsd_privacy.audit.report.model import Amounts, FleetReport, FleetRow, Report
from ugsd_privacy.errors import ReportRejected

__all__ = ["merge_reports", "name_of_log"]

_ORDER = {"failed": 0, "verified": 1, "empty": 2}


def merge_reports(reports: Mapping[str, Report]) -> FleetReport:
    """One row per device, by what the reader calls it; those that do not verify come first.

    Raises :class:`ReportRejected` where there is none, or two are of one log and one period, which
    would count it twice. What a device says of itself, whoever owns it could have made up.
    """
    if not reports:
        raise ReportRejected("no report was given")
    _check_distinct(reports)
    rows = [_row(name, report.without_content()) for name, report in reports.items()]
    return FleetReport(
        since_s=min(report.since_s for report in reports.values()),
        until_s=max(report.until_s for report in reports.values()),
        total=Amounts.total(row.total for row in rows),
        devices=tuple(sorted(rows, key=lambda row: (_ORDER[row.verification.outcome], row.device))),
    )


def name_of_log(report: Report) -> str:
    """The origin of its checkpoints; a log without a key has none."""
    return report.log.partition("+")[0] or "no log"


def _check_distinct(reports: Mapping[str, Report]) -> None:
    seen: dict[tuple[str, str, int, int], str] = {}
    for name, report in reports.items():
        if not report.log:
            continue
        what = (report.log, report.user, report.since_s, report.until_s)
        if what in seen:
            raise ReportRejected(f"{seen[what]} and {name} are of one log and one time")
        seen[what] = name


def _row(name: str, report: Report) -> FleetRow:
    return FleetRow(
        device=name,
        verification=report.verification,
        checkpoint=report.checkpoint,
        total=report.total,
        lifetime=report.lifetime,
        days=report.days,
        caps_met=tuple(row.cap for row in report.caps if row.is_met),
        resets=len(report.resets),
        reasons=report.reasons,
    )
