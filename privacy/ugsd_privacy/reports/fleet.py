"""Many devices as one, without content: what each says of itself, and what its export proves.

What a device says of itself, whoever owns it could have made up. An export is verified here; it is
held against what its device says and against what was kept of its log the last time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.audit.export import ExportHeader, read_item
from ugsd_privacy.audit.offline import ExportSummary, verify_export
from ugsd_privacy.errors import KeyFileError, LogTampered, PrivacyError, ReportRejected
from ugsd_privacy.files.bounded_files import open_regular
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.known_logs import KnownLog
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.wording import plain_words, plural
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint
from ugsd_privacy.tlog.cosignature import WitnessPublicKey
from ugsd_privacy.tlog.log_keys import LogPublicKey

__all__ = ["Device", "header_of_export", "is_whole", "merge_rows", "name_of_log", "verify_device"]

_log = logging.getLogger(__name__)

_ORDER = {"failed": 0, "missing": 1, "verified": 2, "empty": 3}
_SECONDS_PER_HOUR = 3600


class Device(NamedTuple):
    """What came of a device this time, and what was kept of its log the last time."""

    name: str
    report: Report | None = None
    export: Path | None = None
    known: KnownLog | None = None
    fault: str = ""
    """Why what came of it could not be read."""
    others: tuple[str, ...] = ()
    """Checkpoints of other exports of its log, which this one must extend."""


def verify_device(device: Device, witnesses: Iterable[WitnessPublicKey] = ()) -> FleetRow:
    """The row of one device, whatever is wrong with it; ``witnesses`` must have cosigned its
    export. Raises nothing that depends on what came: it would cost the other devices their rows."""
    try:
        return _examined(device, witnesses)
    except (PrivacyError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        _log.warning("a device's report or export met an unexpected %s", type(error).__name__)
        fault = f"what came of it is beyond what is read here ({type(error).__name__})"
        return _examined(Device(device.name, known=device.known, fault=fault), ())


def _examined(device: Device, witnesses: Iterable[WitnessPublicKey]) -> FleetRow:
    report = None if device.report is None else device.report.redacted()
    export, by_reader = None, device.export is not None
    try:
        export = _verified(device, witnesses)
        _check_report(device, export)
        verification = _sound(device, export)
    except LogTampered as error:
        verification, by_reader = _failed(error), True
    own = report.verification if report else verification
    if own.outcome == "failed" and verification.outcome != "failed":
        verification, by_reader = own, False
    told = plain_words(verification.message)
    since_s, until_s = _span(report, export)
    return FleetRow(
        device=plain_words(device.name),
        subject=report.subject if report else "",
        log=_log_of(device, export),
        verification=verification.model_copy(update={"message": told}),
        verified_by="reader" if by_reader else "device",
        earlier=None if device.known is None else device.known.size,
        logged=None if export is None else _logged(export),
        checkpoint=export.checkpoint if export else report.checkpoint if report else "",
        since_s=since_s,
        until_s=until_s,
        is_reported=report is not None,
        total=Amounts() if report is None else report.total,
        lifetime=None if report is None else report.lifetime,
        days=() if report is None else report.days,
        caps_met=() if report is None else tuple(row.cap for row in report.caps if row.is_met),
        resets=0 if report is None else len(report.resets),
        reasons=() if report is None else report.reasons,
    )


def merge_rows(rows: Sequence[FleetRow]) -> FleetReport:
    """All devices; those whose log does not verify or did not come are first.

    Raises :class:`ReportRejected` where there is none. Of two reports of one user of one log that
    tell of one time, the later one fails and is not counted.
    """
    if not rows:
        raise ReportRejected("neither a report nor an export was given")
    rows = _with_distinct_names(_counted_once(rows))
    told = [row for row in rows if row.is_reported] or [row for row in rows if row.until_s]
    return FleetReport(
        since_s=min((row.since_s for row in told), default=0),
        until_s=max((row.until_s for row in told), default=0),
        total=Amounts.total(row.total for row in rows),
        devices=tuple(sorted(rows, key=lambda row: (_ORDER[row.verification.outcome], row.device))),
    )


def name_of_log(log: str) -> str:
    """The origin of its checkpoints, by its public key; a log without a key has none."""
    return log.partition("+")[0] or "no log"


def header_of_export(path: Path) -> ExportHeader | None:
    """What an export says of itself, unverified; ``None`` where it says nothing or cannot be
    read. Raises :class:`LogTampered` where its key does not make the name that it gives its log."""
    try:
        with open_regular(path) as stream:
            header = ExportHeader.of(read_item(stream)[1])
    except (LogTampered, OSError):
        return None
    if _public(header.key).to_text() != header.key:
        raise LogTampered("the log's key is not as keys are written")
    return header


def is_whole(path: Path) -> bool:
    """Whether an export is whole and sealed by the key that it names: anyone can name a key."""
    try:
        with open_regular(path) as stream:
            verify_export(stream)
    except (LogTampered, OSError):
        return False
    return True


def _verified(device: Device, witnesses: Iterable[WitnessPublicKey]) -> ExportSummary | None:
    """What its export holds; it must extend what was kept, what its device reports, and other
    exports of its log. Raises :class:`LogTampered`."""
    if device.fault:
        raise LogTampered(device.fault)
    if device.export is None:
        return None
    kept, report = device.known, device.report
    log = kept.key if kept else report.log if report else ""
    trusted = [*device.others, *([kept.checkpoint] if kept else [])]
    if report is not None and report.checkpoint and report.log == (log or report.log):
        trusted.append(report.checkpoint)
    public = _public(log) if log else None
    try:
        with open_regular(device.export) as stream:
            return verify_export(stream, public, trusted=trusted, witnesses=witnesses)
    except OSError as error:
        raise LogTampered(f"its export cannot be read: {error.strerror}") from None


def _check_report(device: Device, export: ExportSummary | None) -> None:
    """That it is of the log, signed, and tells of no more than the log holds."""
    report, kept = device.report, device.known
    if report is None:
        return
    log = export.public.to_text() if export else kept.key if kept else report.log
    if report.log != log:
        raise LogTampered(f"the report is of {name_of_log(report.log)}, not of {name_of_log(log)}")
    signed = open_checkpoint(report.checkpoint, _public(log)) if report.checkpoint else None
    if export is None and kept is not None:
        _check_extends(signed, kept)
    if report.verification.outcome == "empty" and report.total.bytes:
        raise LogTampered("the report says that nothing left, and counts what did")
    if export is None:
        return
    told, held = report.total, _logged(export)
    more = (told.frames > export.size, told.blocks > held.blocks, told.tokens > held.tokens)
    if any(more) or told.bytes > held.bytes:
        raise LogTampered("the report tells of more than the log holds")


def _check_extends(signed: Checkpoint | None, kept: KnownLog) -> None:
    """As far as a checkpoint alone can tell."""
    size = 0 if signed is None else signed.size
    if size < kept.size:
        raise LogTampered(f"rolled back: {kept.size} records were kept, {size} are here")
    same = open_checkpoint(kept.checkpoint, _public(kept.key))
    if signed is not None and size == kept.size and signed.root != same.root:
        raise LogTampered(f"forked: another log of {size} records was kept")


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
    if device.known is not None:
        known = f"{plural(device.known.size, 'record')} of it kept"
        came = "neither report nor export came" if device.report is None else "no export came"
        return Verification(outcome="missing", message=f"{known}, and {came}")
    if device.report is None:
        return Verification(outcome="missing", message="neither report nor export came")
    return device.report.redacted().verification


def _failed(error: LogTampered) -> Verification:
    return Verification(outcome="failed", message=str(error), index=error.index)


def _log_of(device: Device, export: ExportSummary | None) -> str:
    if export is not None:
        return export.public.to_text()
    if device.report is not None and device.report.log:
        return device.report.log
    return "" if device.known is None else device.known.key


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


def _counted_once(rows: Sequence[FleetRow]) -> Iterator[FleetRow]:
    """Each report of a user's time but the first is at fault, and adds nothing."""
    seen: dict[tuple[str, str], list[FleetRow]] = {}
    for row in rows:
        others = seen.setdefault((row.log, row.subject), []) if row.subject else []
        overlaps = [o for o in others if row.since_s < o.until_s and o.since_s < row.until_s]
        others.append(row)
        if not overlaps:
            yield row
            continue
        told = f"another report, of {overlaps[0].device}, tells of the same user and time"
        verification = Verification(outcome="failed", message=told)
        yield row.model_copy(
            update={"verification": verification, "verified_by": "reader", "total": Amounts()}
        )


def _with_distinct_names(rows: Iterable[FleetRow]) -> list[FleetRow]:
    """Two users of one device report apart."""
    count: Counter[str] = Counter()
    named = []
    for row in rows:
        count[row.device] += 1
        number = count[row.device]
        name = row.device if number == 1 else f"{row.device} ({number})"
        named.append(row.model_copy(update={"device": name}))
    return named
