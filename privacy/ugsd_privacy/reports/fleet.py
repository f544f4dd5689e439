"""Merge many devices into one report without content: what each reports and its export proves.

The owner of a device could have made up its report. An export is verified here, and compared with
the device's report and with what is known of its log from earlier.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.audit.export import ExportHeader, read_item
from ugsd_privacy.audit.offline import ExportSummary, verify_export
from ugsd_privacy.errors import (
    KeyFileError,
    LogOfAnotherVersion,
    LogTampered,
    PrivacyError,
    ReportRejected,
)
from ugsd_privacy.files.bounded_files import open_regular
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.keys.witness import WitnessPublicKey
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.known_logs import KnownLog
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.wording import plural
from ugsd_privacy.tlog.checkpoint import (
    Checkpoint,
    note_origin,
    note_signatures,
    open_checkpoint,
    parse_checkpoint,
)
from ugsd_privacy.tlog.cosignature import verify_cosigned

__all__ = [
    "Device",
    "disagreement",
    "header_of_export",
    "merge_rows",
    "name_of_log",
    "overlapping",
    "prove",
    "size_of_note",
    "verify_device",
]

_log = logging.getLogger(__name__)

_ORDER = {
    "failed": 0,
    "other version": 1,
    "missing": 2,
    "disputed": 3,
    "unverified": 5,
    "verified": 6,
    "empty": 7,
}
_ORDER_OF_REPORTED_FAILURE = 4
_SECONDS_PER_HOUR = 3600
_NOTHING_GIVEN = "neither a report nor an export was given"


class Device(NamedTuple):
    """What a device delivered this time, and what is known of its log from earlier."""

    name: str
    report: Report | None = None
    export: Path | None = None
    known: KnownLog | None = None
    fault: str = ""
    """Why its report or export could not be read."""
    others: tuple[str | Checkpoint, ...] = ()
    """Checkpoints of other exports of its log, which this one must extend. Those that are no text
    have a verified signature."""
    proof: ExportSummary | LogTampered | None = None
    """The result of :func:`prove` for its export, so that it is not verified again."""
    dispute: str = ""
    """What contradicts its report; the report is then joined to no export."""


def verify_device(device: Device, witnesses: Iterable[WitnessPublicKey] = ()) -> FleetRow:
    """Return the row of one device, whatever is wrong with it; ``witnesses`` must have cosigned its
    export.

    What the device delivered cannot make it raise, because that would lose the other devices' rows.
    """
    try:
        return _examined(device, witnesses)
    except (PrivacyError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        _log.warning("a device's report or export met an unexpected %s", type(error).__name__)
        fault = f"its report or export cannot be processed ({type(error).__name__})"
        return _examined(Device(device.name, known=device.known, fault=fault), ())


def _examined(device: Device, witnesses: Iterable[WitnessPublicKey]) -> FleetRow:
    report = None if device.report is None else device.report.redacted()
    export, by_reader = None, device.export is not None
    try:
        export = _verified(device, witnesses)
        _check_report(device, export)
        verification = _faultless(device, export)
    except LogTampered as error:
        verification, by_reader = _failed(error), True
    reported = report.verification if report else verification
    if export is not None and reported.outcome == "failed" and verification.outcome != "failed":
        verification, by_reader = reported, False
    if device.dispute:
        verification, by_reader = _disputed(device), True
    message = plain_line(verification.message)
    since_s, until_s = _span(report, export)
    return FleetRow(
        device=plain_line(device.name),
        subject=report.subject if report else "",
        log=_log_of(device, export),
        claims="" if report is None or export is not None else report.log,
        reports_failure=export is None and reported.outcome == "failed" and report is not None,
        verification=verification.model_copy(update={"message": message}),
        verified_by="reader" if by_reader else "device",
        earlier=None if device.known is None else device.known.size,
        logged=None if export is None else _logged(export),
        checkpoint=export.checkpoint if export else report.checkpoint if report else "",
        since_s=since_s,
        until_s=until_s,
        is_reported=report is not None,
        total=Amounts() if report is None or device.dispute else report.total,
        lifetime=None if report is None else report.lifetime,
        days=() if report is None else report.days,
        caps_met=() if report is None else tuple(row.cap for row in report.caps if row.is_met),
        resets=0 if report is None else len(report.resets),
        reasons=() if report is None else report.reasons,
    )


def merge_rows(rows: Sequence[FleetRow]) -> FleetReport:
    """Return the report of all devices; those whose log does not verify or is missing come first.

    Raises :class:`ReportRejected` if there are no rows. Two reports on the same user of the same
    log and the same time are both disputed, and neither is counted.
    """
    if not rows:
        raise ReportRejected("neither a report nor an export was given")
    rows = _with_distinct_names(_without_contradictions(rows))
    dated = [row for row in rows if row.is_reported] or [row for row in rows if row.until_s]
    return FleetReport(
        since_s=min((row.since_s for row in dated), default=0),
        until_s=max((row.until_s for row in dated), default=0),
        total=Amounts.total(row.total for row in rows),
        devices=tuple(sorted(rows, key=_order)),
    )


def name_of_log(log: str) -> str:
    """Return the name of a log from its public key: the origin of its checkpoints."""
    return log.partition("+")[0] or "no log"


def header_of_export(path: Path) -> ExportHeader | None:
    """Return the unverified header of an export; ``None`` if it has none or cannot be read.

    Raises :class:`LogTampered` if its key is invalid, or not the key of the log that it names.
    """
    try:
        with open_regular(path) as stream:
            header = ExportHeader.of(read_item(stream)[1])
    except (LogTampered, OSError):
        return None
    if _public(header.key).to_text() != header.key:
        raise LogTampered("the log's key is not in canonical form")
    return header


def prove(path: Path, *, roots_at: Iterable[int] = ()) -> ExportSummary:
    """Verify an export with the key that it names; the result serves all later comparisons.

    ``roots_at`` are the sizes of the checkpoints that it may have to extend. Raises
    :class:`LogTampered` if it is incomplete or not signed by that key.
    """
    try:
        with open_regular(path) as stream:
            return verify_export(stream, roots_at=roots_at)
    except OSError as error:
        raise LogTampered(f"its export cannot be read: {error.strerror}") from None


def disagreement(report: Report, export: ExportSummary) -> str:
    """Return why a report disagrees with an export of the log that it claims; empty if it agrees.

    A report is not signed, so a disagreement is no evidence against the export.
    """
    device = Device("", report, proof=export)
    try:
        _compare_with_trusted(device, export)
        _check_report(device, export)
    except LogTampered as error:
        return str(error)
    if report.verification.outcome == "failed":
        return "it says that the log does not verify, but the log's export verifies"
    return ""


def _verified(device: Device, witnesses: Iterable[WitnessPublicKey]) -> ExportSummary | None:
    """Return the summary of the device's export. It must extend the known checkpoint, the one in
    the device's report, and other exports of its log. Raises :class:`LogTampered`."""
    if device.fault:
        raise LogTampered(device.fault)
    if device.export is None:
        return None
    proof = device.proof
    if proof is None:
        proof = prove(device.export, roots_at=_sizes(device))
    if isinstance(proof, LogTampered):
        raise proof
    extended = _compare_with_trusted(device, proof)
    notes = [*proof.notes, *(note for note in extended if isinstance(note, str))]
    verify_cosigned(notes, witnesses, lambda note: open_checkpoint(note, proof.public))
    return dataclasses.replace(proof, checkpoints=len({*proof.notes, *extended}))


def _trusted(device: Device) -> list[str | Checkpoint]:
    known, report = device.known, device.report
    log = known.key if known else report.log if report else ""
    trusted = [*device.others, *([known.checkpoint] if known else [])]
    if report is not None and report.checkpoint and report.log == log:
        trusted.append(report.checkpoint)
    return trusted


def _sizes(device: Device) -> set[int]:
    """Return the sizes of the checkpoints that a device's export must extend; their signatures are
    not verified here."""
    sizes = set()
    for note in _trusted(device):
        try:
            sizes.add(note.size if isinstance(note, Checkpoint) else size_of_note(note))
        except LogTampered:
            continue  # it is refused later, when its signature is verified
    return sizes


def _compare_with_trusted(device: Device, export: ExportSummary) -> list[str | Checkpoint]:
    """Check that an export extends all trusted checkpoints; return them. Raises
    :class:`LogTampered`."""
    known, report = device.known, device.report
    log = known.key if known else report.log if report else ""
    if log and _public(log).to_text() != export.public.to_text():
        raise LogTampered(
            f"the export belongs to {export.public.origin}, not to {_public(log).origin}"
        )
    trusted = list(dict.fromkeys(_trusted(device)))
    export.require_extends(
        note if isinstance(note, Checkpoint) else open_checkpoint(note, export.public)
        for note in trusted
    )
    return trusted


def size_of_note(note: str) -> int:
    """Return the number of leaves of an unverified checkpoint. Raises :class:`LogTampered`."""
    text, _ = note_signatures(note)
    return parse_checkpoint(text, note_origin(note)).size


def _check_report(device: Device, export: ExportSummary | None) -> None:
    """Check that the report belongs to the log, has a signed checkpoint, and does not count more
    than the log holds."""
    report, known = device.report, device.known
    if report is None:
        return
    log = export.public.to_text() if export else known.key if known else report.log
    if report.log != log:
        raise LogTampered(
            f"the report belongs to {name_of_log(report.log)}, not to {name_of_log(log)}"
        )
    signed = open_checkpoint(report.checkpoint, _public(log)) if report.checkpoint else None
    if export is None and known is not None:
        _check_extends(signed, known)
    if report.verification.outcome == "empty" and report.total.bytes:
        raise LogTampered("the report says that nothing was sent, but counts bytes")
    if export is None:
        return
    total, logged = report.total, _logged(export)
    exceeded = (
        total.frames > export.size,
        total.blocks > logged.blocks,
        total.tokens > logged.tokens,
        total.bytes > logged.bytes,
    )
    if any(exceeded):
        raise LogTampered("the report counts more than the log holds")


def _check_extends(signed: Checkpoint | None, known: KnownLog) -> None:
    """Check that a log extends the known one, as far as its checkpoint alone can show."""
    size = 0 if signed is None else signed.size
    if size < known.size:
        raise LogTampered(f"rolled back: {known.size} records were known, {size} are here")
    same = open_checkpoint(known.checkpoint, _public(known.key))
    if signed is not None and size == known.size and signed.root != same.root:
        raise LogTampered(f"forked: another log of {size} records is known")


def _faultless(device: Device, export: ExportSummary | None) -> Verification:
    """Return the result for a device with which no fault was found."""
    if export is not None:
        return Verification(
            outcome="verified" if export.size else "empty",
            message="every leaf, sum and signed checkpoint adds up",
            size=export.size,
            root=export.root.hex(),
            checkpoints=export.checkpoints,
        )
    if device.known is not None:
        known = f"{plural(device.known.size, 'record')} known before"
        absent = _NOTHING_GIVEN if device.report is None else "no export was given"
        return Verification(outcome="missing", message=f"{known}, but {absent}")
    if device.report is None:
        return Verification(outcome="missing", message=_NOTHING_GIVEN)
    return Verification(outcome="unverified", message=_claim(device.report))


def _disputed(device: Device) -> Verification:
    claim = "" if device.report is None else f"; {_claim(device.report)}"
    return Verification(outcome="disputed", message=f"{device.dispute}{claim}")


def _claim(report: Report) -> str:
    """Describe what a report without an export says, as an unproven claim of its file."""
    found = report.redacted().verification
    log = f"it claims to belong to {name_of_log(report.log)}" if report.log else "it names no log"
    where = "" if found.index is None else f" at record {found.index}"
    claim = {
        "failed": f"it says, without proof, that its log does NOT verify{where}: {found.message}",
        "empty": "it says that nothing has been sent",
    }.get(found.outcome, "it says that its log verifies")
    return f"{log}; reported by the device, not verified: {claim}"


def _failed(error: LogTampered) -> Verification:
    if isinstance(error, LogOfAnotherVersion):
        return Verification(outcome="other version", message=str(error))
    return Verification(outcome="failed", message=str(error), index=error.index)


def _log_of(device: Device, export: ExportSummary | None) -> str:
    if export is not None:
        return export.public.to_text()
    return "" if device.known is None else device.known.key


def _logged(export: ExportSummary) -> Amounts:
    return Amounts(blocks=export.blocks, tokens=export.tokens, bytes=export.frame_bytes)


def _span(report: Report | None, export: ExportSummary | None) -> tuple[int, int]:
    """Return the period of the report, or else of the hours in the export, or else zeros."""
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


def _without_contradictions(rows: Sequence[FleetRow]) -> list[FleetRow]:
    """Mark every report as disputed that covers the same user and time as another one.

    Their order does not matter. A report that is joined to an export is not disputed by one that
    is not.
    """
    found = list(rows)
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for number, row in enumerate(rows):
        if row.subject and row.is_reported and row.verification.outcome != "disputed":
            is_joined = row.logged is not None
            groups.setdefault((row.log or row.claims, row.subject, is_joined), []).append(number)
    for numbers in groups.values():
        for number, other in overlapping([(rows[n].since_s, rows[n].until_s) for n in numbers]):
            row, another = rows[numbers[number]], rows[numbers[other]]
            message = _contradiction(row.claims or row.log, another.device)
            found[numbers[number]] = row.model_copy(
                update={
                    "verification": Verification(outcome="disputed", message=message),
                    "verified_by": "reader",
                    "total": Amounts(),
                }
            )
    return found


def overlapping(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the index of each span that overlaps another, with the index of such another."""
    order = sorted(range(len(spans)), key=lambda number: spans[number])
    found: dict[int, int] = {}
    latest = order[:1]
    for number in order[1:]:
        before = latest[0]
        if spans[number][0] < spans[before][1]:
            found.setdefault(number, before)
            found.setdefault(before, number)
        if spans[number][1] > spans[before][1]:
            latest = [number]
    return sorted(found.items())


def _contradiction(log: str, other: str) -> str:
    return (
        f"it claims to belong to {name_of_log(log)}, and another report, of {other}, covers the "
        "same user and time; neither is counted"
    )


def _order(row: FleetRow) -> tuple[int, str]:
    place = _ORDER[row.verification.outcome]
    return min(place, _ORDER_OF_REPORTED_FAILURE) if row.reports_failure else place, row.device


def _with_distinct_names(rows: Iterable[FleetRow]) -> list[FleetRow]:
    """Number the rows of a device that has several users, so that their names differ."""
    count: Counter[str] = Counter()
    named = []
    for row in rows:
        count[row.device] += 1
        number = count[row.device]
        name = row.device if number == 1 else f"{row.device} ({number})"
        named.append(row.model_copy(update={"device": name}))
    return named
