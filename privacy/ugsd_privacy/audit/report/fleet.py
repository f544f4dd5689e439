"""Many devices as one, without content: what each says of itself, and what its export proves.

What a device says of itself, whoever owns it could have made up. An export is verified here; it is
held against what its device says and against what was kept of its log the last time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.audit.checkpoint import open_checkpoint
from ugsd_privacy.audit.cosignature import WitnessPublicKey
from ugsd_privacy.audit.export import ExportHeader, read_item
from ugsd_privacy.audit.offline import ExportSummary, verify_export
from ugsd_privacy.audit.report.fleet_model import FleetReport, FleetRow
from ugsd_privacy.audit.report.kept import KeptLog
from ugsd_privacy.audit.report.model import Report
from ugsd_privacy.audit.report.parts import Amounts, Verification
from ugsd_privacy.audit.report.telling import words_without_tricks
from ugsd_privacy.errors import KeyFileError, LogTampered, ReportRejected
from ugsd_privacy.keys import LogPublicKey

__all__ = ["Device", "examine", "log_of_export", "merge_rows", "name_of_log"]

_ORDER = {"failed": 0, "missing": 1, "verified": 2, "empty": 3}
_SECONDS_PER_HOUR = 3600


class Device(NamedTuple):
    """What came of a device this time, and what was kept of its log the last time."""

    name: str
    report: Report | None = None
    export: Path | None = None
    kept: KeptLog | None = None
    fault: str = ""
    """Why what came of it could not be read."""


def examine(device: Device, witnesses: Iterable[WitnessPublicKey] = ()) -> FleetRow:
    """The row of one device, whatever is wrong with it; ``witnesses`` must have cosigned its
    export. Raises ``OSError`` where that cannot be read."""
    report = None if device.report is None else device.report.without_content()
    export, by_reader = None, device.export is not None
    try:
        export = _verified(device, witnesses)
        _check_against_kept(device, export)
        _check_report(device.report, export)
        verification = _sound(device, export)
    except LogTampered as error:
        verification, by_reader = _failed(error), True
    if report is not None and report.verification.outcome == "failed" != verification.outcome:
        verification, by_reader = report.verification, False
    told = words_without_tricks(verification.message)
    since_s, until_s = _span(report, export)
    return FleetRow(
        device=words_without_tricks(device.name),
        subject=report.subject if report else "",
        log=_log_of(device, export),
        verification=verification.model_copy(update={"message": told}),
        verified_by="reader" if by_reader else "device",
        earlier=None if device.kept is None else device.kept.size,
        logged=None if export is None else _logged(export),
        checkpoint=export.checkpoint if export else report.checkpoint if report else "",
        since_s=since_s,
        until_s=until_s,
        made_s=report.made_s if report else 0,
        total=Amounts() if report is None else report.total,
        lifetime=None if report is None else report.lifetime,
        days=() if report is None else report.days,
        caps_met=() if report is None else tuple(row.cap for row in report.caps if row.is_met),
        resets=0 if report is None else len(report.resets),
        reasons=() if report is None else report.reasons,
    )


def merge_rows(rows: Sequence[FleetRow]) -> FleetReport:
    """All devices; those whose log does not verify or did not come are first.

    Raises :class:`ReportRejected` where there is none, or one was given twice.
    """
    if not rows:
        raise ReportRejected("neither a report nor an export was given")
    _check_distinct(rows)
    rows = _with_distinct_names(rows)
    return FleetReport(
        since_s=min((row.since_s for row in rows if row.until_s), default=0),
        until_s=max(row.until_s for row in rows),
        total=Amounts.total(row.total for row in rows),
        devices=tuple(sorted(rows, key=lambda row: (_ORDER[row.verification.outcome], row.device))),
    )


def name_of_log(log: str) -> str:
    """The origin of its checkpoints, by its public key; a log without a key has none."""
    return log.partition("+")[0] or "no log"


def log_of_export(path: Path) -> str:
    """The public key of the log that an export says it is of, unverified; empty where it says
    nothing. Raises ``OSError``."""
    try:
        with path.open("rb") as stream:
            return ExportHeader.of(read_item(stream)[1]).key
    except LogTampered:
        return ""


def _verified(device: Device, witnesses: Iterable[WitnessPublicKey]) -> ExportSummary | None:
    """What its export holds; raises :class:`LogTampered`."""
    if device.fault:
        raise LogTampered(device.fault)
    if device.export is None:
        return None
    kept, report = device.kept, device.report
    log = kept.key if kept else report.log if report else ""
    trusted = [kept.checkpoint] if kept else []
    with device.export.open("rb") as stream:
        public = _public(log) if log else None
        return verify_export(stream, public, trusted=trusted, witnesses=witnesses)


def _check_against_kept(device: Device, export: ExportSummary | None) -> None:
    """Of a device that only reports; an export was verified against what was kept."""
    if device.kept is None or device.report is None or export is not None:
        return
    log, note = device.report.log, device.report.checkpoint
    if log != device.kept.key:
        raise LogTampered(f"the report is of {name_of_log(log)}, not of the log that was kept")
    size = open_checkpoint(note, _public(log)).size if note else 0
    if size < device.kept.size:
        raise LogTampered(f"rolled back: {device.kept.size} records were kept, {size} are here")


def _check_report(report: Report | None, export: ExportSummary | None) -> None:
    """That it is signed, and tells of no more than the log holds."""
    if report is None:
        return
    if report.checkpoint:
        open_checkpoint(report.checkpoint, _public(report.log))
    if export is None:
        return
    if report.log != export.public.to_text():
        raise LogTampered(f"the report is of {name_of_log(report.log)}, the export is not")
    told, held = report.total, _logged(export)
    if told.blocks > held.blocks or told.tokens > held.tokens or told.bytes > held.bytes:
        raise LogTampered("the report tells of more than the log holds")


def _sound(device: Device, export: ExportSummary | None) -> Verification:
    """Of a device with which nothing was found to be wrong here."""
    if export is not None:
        return Verification(
            outcome="verified" if export.size else "empty",
            message="every leaf, sum and signed checkpoint adds up",
            size=export.size,
            root=export.root.hex(),
            checkpoints=export.checkpoints,
        )
    if device.report is not None:
        return device.report.without_content().verification
    known = "nothing" if device.kept is None else f"{device.kept.size} records"
    return Verification(
        outcome="missing", message=f"{known} of it were kept; neither report nor export came"
    )


def _failed(error: LogTampered) -> Verification:
    return Verification(outcome="failed", message=str(error), index=error.index)


def _log_of(device: Device, export: ExportSummary | None) -> str:
    if export is not None:
        return export.public.to_text()
    if device.report is not None and device.report.log:
        return device.report.log
    return "" if device.kept is None else device.kept.key


def _logged(export: ExportSummary) -> Amounts:
    return Amounts(blocks=export.blocks, tokens=export.tokens, bytes=export.frame_bytes)


def _span(report: Report | None, export: ExportSummary | None) -> tuple[int, int]:
    """Of the report; without one, of the hours that were logged, or nothing."""
    if report is not None:
        return report.since_s, report.until_s
    if export is None or not export.hours:
        return 0, 0
    return export.hours[0] * _SECONDS_PER_HOUR, (export.hours[-1] + 1) * _SECONDS_PER_HOUR


def _public(log: str) -> LogPublicKey:
    try:
        return LogPublicKey.from_text(log)
    except KeyFileError as error:
        raise LogTampered(f"the log's key: {error}") from None


def _check_distinct(rows: Sequence[FleetRow]) -> None:
    """Two reports of one user that tell of one time would count it twice."""
    seen: dict[tuple[str, str], list[FleetRow]] = {}
    for row in rows:
        others = seen.setdefault((row.log, row.subject), [])
        for other in others:
            if row.subject and row.since_s < other.until_s and other.since_s < row.until_s:
                raise ReportRejected(
                    f"{other.device} and {row.device} tell of one user of one log at one time"
                )
        others.append(row)


def _with_distinct_names(rows: Sequence[FleetRow]) -> list[FleetRow]:
    """Two users of one device report apart."""
    count: Counter[str] = Counter()
    named = []
    for row in rows:
        count[row.device] += 1
        number = count[row.device]
        name = row.device if number == 1 else f"{row.device} ({number})"
        named.append(row.model_copy(update={"device": name}))
    return named
