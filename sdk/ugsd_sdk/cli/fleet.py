"""``ugsd audit fleet``: what many devices sent as one page, and which of their logs are wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from ugsd_privacy.output.terminal import tell_error

from ugsd_sdk.cli.audit_verify import WitnessKeyOption, is_json
from ugsd_sdk.cli.log import fail
from ugsd_sdk.cli.report_output import FormatOption, OutOption, ReportFormat, write, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ugsd_privacy.audit.export import ExportHeader
    from ugsd_privacy.reports.fleet import Device
    from ugsd_privacy.reports.known_logs import KnownLogs
    from ugsd_privacy.reports.model import Report

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

    An export and a report of one log are one device's, and if a file does not say of which, those
    of one name. Of a device that sent no export, the page has its own word for its log. Ends with 1
    where a log does not verify, or no export of it came though one was kept.
    """
    from ugsd_privacy.reports.fleet import merge_rows, verify_device
    from ugsd_privacy.tlog.cosignature import WitnessPublicKey

    from ugsd_sdk.cli.progress import progress_bar

    witnesses = [WitnessPublicKey.load(key) for key in witness_key or []]
    logs = _known(known, "file" if by_file else "log")
    devices = _devices(_Arrived.read(files), logs, by_file=by_file)
    rows = []
    with progress_bar("verifying") as progress:
        for done, device in enumerate(devices):
            progress(done, len(devices))
            rows.append(verify_device(device, witnesses))
    made = merge_rows(rows)
    write(written(made, format_), out)
    if known is not None:
        logs.updated(rows).save(known)
    for row in made.failed:
        at = "" if row.verification.index is None else f" at record {row.verification.index}"
        what = "did not come" if row.verification.outcome == "missing" else "does NOT verify"
        tell_error("ugsd", f"{row.device}: the log {what}{at}: {row.verification.message}")
    if made.failed:
        raise typer.Exit(1)


def _known(path: Path | None, named_by: Literal["file", "log"]) -> KnownLogs:
    """What was kept the last time; tells where there is none."""
    from ugsd_privacy.reports.known_logs import KnownLogs

    if path is None or not path.exists():
        if path is not None:
            tell_error("ugsd", f"{path} is new: every log is believed this time")
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
        arrived._deny_false_claims()
        return arrived

    def _deny_false_claims(self) -> None:
        """Anyone can name another log's key in an export, but not seal it. Where exports of one log
        are whole, those that are not say nothing of whose they are, whichever came first."""
        from ugsd_privacy.reports.fleet import is_whole

        claims: dict[str, list[Path]] = {}
        for path, header in self.exports.items():
            if header is not None:
                claims.setdefault(header.key, []).append(path)
        for paths in claims.values():
            whole = set(filter(is_whole, paths)) if len(paths) > 1 else set()
            if whole:
                self.exports.update(dict.fromkeys(set(paths) - whole))

    def export_of(self, path: Path, log: str) -> Path | None:
        """The export of a report's log; or one of its name that does not say of which it is."""
        exports = self.exports.items()
        same_log = [export for export, header in exports if header and log and header.key == log]
        beside = [
            export for export, header in exports if not header and _name(export) == _name(path)
        ]
        return next(iter(same_log + beside), None)

    def others_of(self, export: Path) -> tuple[str, ...]:
        """Signed checkpoints of other exports of the same log that are no longer than it."""
        own = self.exports[export]
        return tuple(
            header.checkpoints[-1]
            for path, header in self.exports.items()
            if path != export
            and header is not None
            and own is not None
            and header.key == own.key
            and header.size <= own.size
            and _is_signed(header)
        )

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


def _is_signed(header: ExportHeader) -> bool:
    """One that is not proves nothing against another export."""
    from ugsd_privacy.errors import KeyFileError, LogTampered
    from ugsd_privacy.tlog.checkpoint import open_checkpoint
    from ugsd_privacy.tlog.log_keys import LogPublicKey

    try:
        signed = open_checkpoint(header.checkpoints[-1], LogPublicKey.from_text(header.key))
    except (LogTampered, KeyFileError):
        return False
    return signed.size == header.size


def _devices(arrived: _Arrived, known: KnownLogs, *, by_file: bool) -> list[Device]:
    """What came of each device, and those that are known and did not come."""
    from ugsd_privacy.reports.fleet import Device, name_of_log
    from ugsd_privacy.reports.wording import plain_words

    of_file = arrived.names()

    def name(path: Path, log: str) -> str:
        if by_file:
            return plain_words(of_file(path))
        # With a space, which no log's name has: a file could be named like a log.
        return plain_words(name_of_log(log) if log else f"file {of_file(path)}")

    devices = []
    for path, report in arrived.reports.items():
        export = arrived.export_of(path, report.log)
        others = () if export is None else arrived.others_of(export)
        devices.append(Device(name(path, report.log), report, export, others=others))
    told = {device.export for device in devices}
    devices += [
        Device(
            name(path, header.key if header else ""), export=path, others=arrived.others_of(path)
        )
        for path, header in arrived.exports.items()
        if path not in told
    ]
    devices += [Device(name(path, ""), fault=fault) for path, fault in arrived.unread.items()]
    came = {device.name for device in devices}
    logs = {device.report.log for device in devices if device.report and device.export}
    devices += [
        Device(name)
        for name, kept in known.logs.items()
        if name not in came and kept.key not in logs
    ]
    return [device._replace(known=known.logs.get(device.name)) for device in devices]
