"""``ugsd audit fleet``: one page of many devices' reports, with the logs that do not verify."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.cli.audit.open_log import fail
from ugsd_sdk.cli.audit.report_output import (
    FormatOption,
    OutOption,
    ReportFormat,
    render_report,
    write_report,
)
from ugsd_sdk.cli.audit.verify import WitnessKeyOption, is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ugsd_privacy.audit.export import ExportHeader
    from ugsd_privacy.audit.offline import ExportSummary
    from ugsd_privacy.errors import LogTampered
    from ugsd_privacy.reports.fleet import Device
    from ugsd_privacy.reports.known_logs import KnownLogs
    from ugsd_privacy.reports.model import Report
    from ugsd_privacy.tlog.checkpoint import Checkpoint

    _Proofs = Mapping[Path, ExportSummary | LogTampered]

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd audit fleet reports/*.json --format md
  ugsd audit fleet week/*.json week/*.ugsd --by-file --known known.json --out fleet.html
"""


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("fleet", epilog=_EPILOG)(fleet)


def fleet(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Files from the devices: reports as JSON, and exports of their logs.",
        ),
    ],
    format_: FormatOption = ReportFormat.HTML,
    out: OutOption = None,
    *,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="Name devices by their files instead of their logs.")
    ] = False,
    known: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keys and checkpoints from the last run, which each log must extend; updated from "
            "the exports that verify.",
        ),
    ] = None,
    witness_key: WitnessKeyOption = None,
) -> None:
    """Verify the logs of many devices, and list the faults.

    Reports without content are merged into one page. Only an export proves anything about a log. A
    report is a claim; it is joined to the export of the log that it names if the two agree. The
    exit code is 1 if a log does not verify, if a log in the --known file has no export, or if a
    report is contradicted or says that its log does not verify.
    """
    from ugsd_privacy.keys.witness import WitnessPublicKey
    from ugsd_privacy.reports.fleet import merge_rows, verify_device
    from ugsd_privacy.reports.wording import verdict

    from ugsd_sdk.cli.progress import progress_bar

    witnesses = [WitnessPublicKey.load(key) for key in witness_key or []]
    logs = _known(known, "file" if by_file else "log")
    arrived = _Arrived.read(files)
    with progress_bar("verifying") as progress:
        proofs = arrived.proven(logs, progress)
    rows = [verify_device(d, witnesses) for d in _devices(arrived, proofs, logs, by_file=by_file)]
    result = merge_rows(rows)
    write_report(render_report(result, format_), out)
    if known is not None:
        logs.updated(rows).save(known)
    for row in result.failed:
        print_error("ugsd", f"{row.device}: {verdict(row.verification)}")
    if result.failed:
        raise typer.Exit(1)


def _known(path: Path | None, named_by: Literal["file", "log"]) -> KnownLogs:
    """Return the logs known from the last run. Print a note if there are none."""
    from ugsd_privacy.reports.known_logs import KnownLogs

    if path is None or not path.exists():
        if path is not None:
            print_error(
                "ugsd", f"{path} is new: no log can be compared with an earlier one this time"
            )
        return KnownLogs(named_by=named_by)
    known = KnownLogs.load(path)
    if known.named_by != named_by:
        option = "leave out --by-file" if named_by == "file" else "give --by-file"
        raise typer.BadParameter(f"{path} names devices by their {known.named_by}s: {option}")
    return known


@dataclass(frozen=True)
class _Arrived:
    """The files that arrived, by kind."""

    reports: dict[Path, Report]
    exports: dict[Path, ExportHeader | None]
    """With their headers, which claim the log's identity, if readable."""
    unread: dict[Path, str]
    """With the error message."""

    @classmethod
    def read(cls, files: Iterable[Path]) -> _Arrived:
        """Read the files. End the command for a missing file; any other unreadable file counts as
        a fault of its device."""
        from ugsd_privacy.errors import LogTampered, ReportRejected
        from ugsd_privacy.files.atomic_files import read_bounded
        from ugsd_privacy.reports.fleet import header_of_export
        from ugsd_privacy.reports.schema import MAX_REPORT_BYTES, read_report

        arrived = cls({}, {}, {})
        for path in {os.path.realpath(path): path for path in files}.values():
            try:
                if is_json(path):
                    arrived.reports[path] = read_report(read_bounded(path, MAX_REPORT_BYTES))
                else:
                    arrived.exports[path] = header_of_export(path)
            except FileNotFoundError as error:
                fail(f"cannot read {path}: {error.strerror}: check the path")
            except OSError as error:
                arrived.unread[path] = f"{path.name}: cannot be read: {error.strerror}"
            except (LogTampered, ReportRejected) as error:
                arrived.unread[path] = f"{path.name}: {error}"
        return arrived

    def proven(self, known: KnownLogs, progress: Callable[[int, int], None]) -> _Proofs:
        """Verify each export. Anyone can put another log's key into an export but cannot sign for
        it, so a damaged export does not prove which log it belongs to."""
        from ugsd_privacy.errors import LogTampered
        from ugsd_privacy.reports.claims import prove_all

        reports, known_logs = self.reports.values(), known.logs.values()
        proofs = prove_all(self.exports, reports, known_logs, progress=progress)
        for path, proof in proofs.items():
            if isinstance(proof, LogTampered):
                self.exports[path] = None
        return proofs

    def unnamed_export(self, report: Path) -> Path | None:
        """Return an export with a report's file name that does not prove its log, if any."""
        exports = self.exports.items()
        beside = [path for path, header in exports if not header and _name(path) == _name(report)]
        return next(iter(beside), None)

    def names(self) -> Callable[[Path], str]:
        """Return the function that names devices by their files, with the folder if the file name
        occurs in two folders."""
        paths = [*self.reports, *self.exports, *self.unread]
        folders: dict[str, set[str]] = {}
        for path in paths:
            folders.setdefault(path.stem, set()).add(_folder(path))
        return lambda path: path.stem if len(folders[path.stem]) == 1 else "/".join(_name(path))


def _folder(path: Path) -> str:
    return os.path.realpath(path.parent)


def _name(path: Path) -> tuple[str, str]:
    return Path(_folder(path)).name, path.stem


def _with_proof(
    device: Device, proofs: _Proofs, trees: Mapping[str, tuple[Checkpoint, ...]]
) -> Device:
    from ugsd_privacy.errors import LogTampered

    proof = None if device.export is None else proofs[device.export]
    if proof is None or isinstance(proof, LogTampered):
        return device._replace(proof=proof)
    own = trees[proof.public.to_text()]
    others = tuple(tree for tree in own if tree.size <= proof.size)
    return device._replace(proof=proof, others=others)


def _devices(
    arrived: _Arrived, proofs: _Proofs, known: KnownLogs, *, by_file: bool
) -> list[Device]:
    """Return the devices with their files, and the known devices without any."""
    from ugsd_privacy.output.plain_text import plain_line
    from ugsd_privacy.reports.claims import join_reports, others_of
    from ugsd_privacy.reports.fleet import Device, name_of_log

    of_file = arrived.names()

    def name(path: Path, log: str) -> str:
        if by_file:
            return plain_line(of_file(path))
        # A log's name has no space, so a file cannot take a log's name.
        return plain_line(name_of_log(log) if log else f"file {of_file(path)}")

    devices = []
    joined = join_reports(arrived.reports, proofs)
    for path, report in arrived.reports.items():
        export, dispute = joined[path]
        log, named = report.log if export else "", export or path
        if export is None and not dispute:
            export = arrived.unnamed_export(path)
        devices.append(Device(name(named, log), report, export, dispute=dispute))
    joined_exports = {device.export for device in devices}
    devices += [
        Device(name(path, header.key if header else ""), export=path)
        for path, header in arrived.exports.items()
        if path not in joined_exports
    ]
    proven = {device.name for device in devices if device.export}
    devices = [
        device if device.export or device.name not in proven
        else device._replace(name=f"report {device.name}")
        for device in devices
    ]  # fmt: skip
    trees = others_of(proofs)
    devices = [_with_proof(device, proofs, trees) for device in devices]
    devices += [Device(name(path, ""), fault=fault) for path, fault in arrived.unread.items()]
    arrived_names = {device.name for device in devices}
    logs = {device.report.log for device in devices if device.report and device.export}
    devices += [
        Device(name)
        for name, known_log in known.logs.items()
        if name not in arrived_names and known_log.key not in logs
    ]
    return [device._replace(known=known.logs.get(device.name)) for device in devices]
