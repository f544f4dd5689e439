"""``ugsd audit fleet``: what many devices sent as one page, and which of their logs are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ugsd_sdk.cli.forms import FormatOption, OutOption, ReportFormat, write, written
from ugsd_sdk.cli.verifying import WitnessKeyOption, is_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ugsd_privacy.audit.report.fleet import Device
    from ugsd_privacy.audit.report.kept import KeptLogs
    from ugsd_privacy.audit.report.model import Report

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd audit fleet reports/*.json --format md
  ugsd audit fleet week/*.json week/*.ugsd --by-file --kept kept.json --out fleet.html
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
    kept: Annotated[
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

    An export and a report of one log, or of files of one name, are one device's. Of a device that
    sent no export, the page has its own word for its log. Ends with 1 where a log does not verify,
    or did not come though it was kept.
    """
    from ugsd_privacy.audit.cosignature import WitnessPublicKey
    from ugsd_privacy.audit.report.fleet import examine, merge_rows
    from ugsd_privacy.audit.report.kept import KeptLogs

    from ugsd_sdk.cli.progress import progress_bar

    witnesses = [WitnessPublicKey.load(key) for key in witness_key or []]
    known = KeptLogs() if kept is None else KeptLogs.load(kept)
    devices = _devices(_Arrived.read(files), known, by_file=by_file)
    rows = []
    with progress_bar("verifying") as progress:
        for done, device in enumerate(devices):
            progress(done, len(devices))
            rows.append(examine(device, witnesses))
    made = merge_rows(rows)
    write(written(made, format_), out)
    if kept is not None:
        known.updated(rows).save(kept)
    for row in made.failed:
        at = "" if row.verification.index is None else f" at record {row.verification.index}"
        what = "did not come" if row.verification.outcome == "missing" else "does NOT verify"
        typer.echo(f"ugsd: {row.device}: the log {what}{at}: {row.verification.message}", err=True)
    if made.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Arrived:
    """The files that came, by what they are."""

    reports: dict[Path, Report]
    exports: dict[Path, str]
    """With the log's key, where they tell it."""
    unread: dict[Path, str]
    """With what is wrong."""

    @classmethod
    def read(cls, files: Iterable[Path]) -> _Arrived:
        """Raises ``ReportRejected`` for files that cannot be read."""
        from ugsd_privacy.audit.report.fleet import log_of_export
        from ugsd_privacy.audit.report.schema import read_report
        from ugsd_privacy.errors import ReportRejected

        arrived = cls({}, {}, {})
        for path in dict.fromkeys(files):
            try:
                if not is_json(path):
                    arrived.exports[path] = log_of_export(path)
                    continue
                arrived.reports[path] = read_report(path.read_bytes())
            except OSError as error:
                raise ReportRejected(f"{path}: {error.strerror}") from error
            except ReportRejected as error:
                arrived.unread[path] = f"{path.name}: {error}"
        return arrived

    def export_of(self, path: Path, log: str) -> Path | None:
        """The export of one name with the report at ``path``, or else of its log."""
        exports = self.exports.items()
        same_name = [export for export, _ in exports if export.stem == path.stem]
        same_log = [export for export, key in exports if log and key == log]
        return next(iter(same_name + same_log), None)


def _devices(arrived: _Arrived, known: KeptLogs, *, by_file: bool) -> list[Device]:
    """What came of each device, and those that are known and did not come."""
    from ugsd_privacy.audit.report.fleet import Device, name_of_log

    def name(path: Path, log: str) -> str:
        return path.stem if by_file or not log else name_of_log(log)

    devices = []
    for path, report in arrived.reports.items():
        export = arrived.export_of(path, report.log)
        devices.append(Device(name(path, report.log), report, export))
    told = {device.export for device in devices}
    devices += [
        Device(name(path, log), export=path)
        for path, log in arrived.exports.items()
        if path not in told
    ]
    devices += [Device(path.stem, fault=fault) for path, fault in arrived.unread.items()]
    devices += [Device(name) for name in known.logs.keys() - {device.name for device in devices}]
    return [device._replace(kept=known.logs.get(device.name)) for device in devices]
