"""``ugsd audit fleet``: what many devices sent as one page, and which of their logs are wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.cli.audit_verify import WitnessKeyOption, is_json
from ugsd_sdk.cli.log import fail
from ugsd_sdk.cli.report_output import FormatOption, OutOption, ReportFormat, write, written

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

# Heavy imports wait inside the commands, so that --help answers at once.
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
            metavar="FILE...",
            help="What devices sent: reports as JSON, and exports of their logs.",
        ),
    ],
    format_: FormatOption = ReportFormat.HTML,
    out: OutOption = None,
    *,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="Name devices by their files, not by their logs.")
    ] = False,
    known: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keys and checkpoints of the last time, which each log must extend; "
            "updated from the exports that verify.",
        ),
    ] = None,
    witness_key: WitnessKeyOption = None,
) -> None:
    """Verify exports of many devices, merge their reports without content, tell which are wrong.

    Only an export speaks for a log: a report is a claim of its file, and is joined to an export of
    the log that it names if it agrees with it. Ends with 1 where a log does not verify, or no
    export of it came though one was kept, and where a report is contradicted, or says that its log
    does not verify.
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
    made = merge_rows(rows)
    write(written(made, format_), out)
    if known is not None:
        logs.updated(rows).save(known)
    for row in made.failed:
        print_error("ugsd", f"{row.device}: {verdict(row.verification)}")
    if made.failed:
        raise typer.Exit(1)


def _known(path: Path | None, named_by: Literal["file", "log"]) -> KnownLogs:
    """What was kept the last time; tells where there is none."""
    from ugsd_privacy.reports.known_logs import KnownLogs

    if path is None or not path.exists():
        if path is not None:
            print_error("ugsd", f"{path} is new: every log is believed this time")
        return KnownLogs(named_by=named_by)
    known = KnownLogs.load(path)
    if known.named_by != named_by:
        option = "leave out --by-file" if named_by == "file" else "give --by-file"
        raise typer.BadParameter(f"{path} names devices by their {known.named_by}s: {option}")
    return known


@dataclass(frozen=True)
class _Arrived:
    """The files that came, by what they are."""

    reports: dict[Path, Report]
    exports: dict[Path, ExportHeader | None]
    """With what they say of themselves, if it can be read."""
    unread: dict[Path, str]
    """With what is wrong."""

    @classmethod
    def read(cls, files: Iterable[Path]) -> _Arrived:
        """Ends the command for files that are not there; others that cannot be read are faults of
        their devices."""
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
                fail(f"cannot read {path}: {error.strerror}")
            except OSError as error:
                arrived.unread[path] = f"{path.name}: cannot be read: {error.strerror}"
            except (LogTampered, ReportRejected) as error:
                arrived.unread[path] = f"{path.name}: {error}"
        return arrived

    def proven(self, known: KnownLogs, progress: Callable[[int, int], None]) -> _Proofs:
        """What each export proves. Anyone can name another log's key in an export, but not seal it:
        one that is not whole says nothing of whose it is."""
        from ugsd_privacy.errors import LogTampered
        from ugsd_privacy.reports.claims import prove_all

        reports, kept = self.reports.values(), known.logs.values()
        proofs = prove_all(self.exports, reports, kept, progress=progress)
        for path, proof in proofs.items():
            if isinstance(proof, LogTampered):
                self.exports[path] = None
        return proofs

    def unnamed_export(self, report: Path) -> Path | None:
        """An export of a report's name that does not say of which log it is."""
        exports = self.exports.items()
        beside = [path for path, header in exports if not header and _name(path) == _name(report)]
        return next(iter(beside), None)

    def names(self) -> Callable[[Path], str]:
        """Of devices by their files; with the folder where two folders have one name."""
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
    """What came of each device, and those that are known and did not come."""
    from ugsd_privacy.output.plain_text import plain_line
    from ugsd_privacy.reports.claims import join_reports, others_of
    from ugsd_privacy.reports.fleet import Device, name_of_log

    of_file = arrived.names()

    def name(path: Path, log: str) -> str:
        if by_file:
            return plain_line(of_file(path))
        # With a space, which no log's name has: a file could be named like a log.
        return plain_line(name_of_log(log) if log else f"file {of_file(path)}")

    devices = []
    joined = join_reports(arrived.reports, proofs)
    for path, report in arrived.reports.items():
        export, dispute = joined[path]
        log, named = report.log if export else "", export or path
        if export is None and not dispute:
            export = arrived.unnamed_export(path)
        devices.append(Device(name(named, log), report, export, dispute=dispute))
    told = {device.export for device in devices}
    devices += [
        Device(name(path, header.key if header else ""), export=path)
        for path, header in arrived.exports.items()
        if path not in told
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
    came = {device.name for device in devices}
    logs = {device.report.log for device in devices if device.report and device.export}
    devices += [
        Device(name)
        for name, kept in known.logs.items()
        if name not in came and kept.key not in logs
    ]
    return [device._replace(known=known.logs.get(device.name)) for device in devices]
