"""``ugsd audit report`` and ``ugsd audit fleet``: what left, for people to read."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ugsd_sdk.cli.options import ConfigOption, HomeOption, OwnerKeyOption, UserOption, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.audit.report.gather import Period
    from ugsd_privacy.audit.report.model import FleetReport, Report

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_REPORT_EPILOG = """Examples:

\b
  ugsd audit report --user ada --since 7d --out ada.html
  ugsd audit report --user ada --since 2026-01-01 --format md
  ugsd audit report --format json --without-content --out kitchen.json
"""
_FLEET_EPILOG = """Examples:

\b
  ugsd audit fleet reports/*.json --format md
  ugsd audit fleet reports/*.json --by-file --out fleet.html
"""
_SECONDS_PER_DAY = 86_400


class _Format(StrEnum):
    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


_FormatOption = Annotated[_Format, typer.Option("--format", help="HTML needs ugsd[report].")]
_OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write there, not to the terminal.")
]


def register(audit: typer.Typer) -> None:
    """Add the commands to ``ugsd audit``."""
    audit.command("report", epilog=_REPORT_EPILOG)(report)
    audit.command("fleet", epilog=_FLEET_EPILOG)(fleet)


def report(
    user: UserOption = None,
    since: Annotated[
        str, typer.Option(metavar="DATE|Nd", help="First day (UTC), or how many days ago.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Last day (UTC).  [default: today]")
    ] = None,
    format_: _FormatOption = _Format.HTML,
    out: _OutOption = None,
    drafter: Annotated[
        str, typer.Option(metavar="starter|free|DIR", help="Whose words the tokens are.")
    ] = "starter",
    home: HomeOption = None,
    config: ConfigOption = None,
    owner_key: OwnerKeyOption = None,
    *,
    without_content: Annotated[
        bool, typer.Option("--without-content", help="For others' eyes: no words, no user.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON form's schema instead.")
    ] = False,
) -> None:
    """Report what left of a user, in words, under which budget, and whether the log stands.

    Ends with 1 where the log does not verify; the report says where.
    """
    from ugsd_privacy.audit.report.model import report_schema

    from ugsd_sdk.audit_report import audit_report
    from ugsd_sdk.cli.progress import progress_bar

    if schema:
        _write(report_schema(), out)
        return
    period = _period(since, until, time.time())
    settings = settings_from(config, home=home, user=user)
    with progress_bar("verifying") as progress:
        made = audit_report(settings, drafter, period, owner_key=owner_key, progress=progress)
    _write(_written(made.without_content() if without_content else made, format_), out)
    if made.verification.outcome == "failed":
        typer.echo(f"ugsd: the log does NOT verify: {made.verification.message}", err=True)
        raise typer.Exit(1)


def fleet(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT.json...", help="Devices' reports, as JSON.")
    ],
    format_: _FormatOption = _Format.HTML,
    out: _OutOption = None,
    *,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="Name devices by their files, not by their logs.")
    ] = False,
) -> None:
    """Merge reports of many devices, without content, and tell which logs do not verify.

    Ends with 1 where one does not.
    """
    from ugsd_privacy.audit.report.fleet import merge_reports, name_of_log

    named: dict[str, Report] = {}
    for path in reports:
        read = _read(path)
        name = path.stem if by_file else name_of_log(read)
        named[_unused(name, named)] = read
    made = merge_reports(named)
    _write(_written(made, format_), out)
    for row in made.failed:
        at = "" if row.verification.index is None else f" at record {row.verification.index}"
        told = f"{row.device}: the log does NOT verify{at}"
        typer.echo(f"ugsd: {told}: {row.verification.message}", err=True)
    if made.failed:
        raise typer.Exit(1)


def _period(since: str, until: str | None, now_s: float) -> Period:
    from ugsd_privacy.audit.report.gather import Period

    end_s = int(now_s) + 1 if until is None else _day(until, "--until") + _SECONDS_PER_DAY
    days = re.fullmatch(r"(\d{1,5})d", since)
    begin_s = (
        _day(since, "--since") if days is None else int(now_s) - int(days[1]) * _SECONDS_PER_DAY
    )
    if begin_s >= end_s:
        raise typer.BadParameter("--since comes after --until")
    return Period(max(0, begin_s), end_s)


def _day(text: str, option: str) -> int:
    """When it begins, Unix time."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"{option}: a date such as 2026-01-31, or 7d; not {text!r}") from (
            None
        )
    return int(day.timestamp())


def _read(path: Path) -> Report:
    from ugsd_privacy.audit.report.model import read_report
    from ugsd_privacy.errors import ReportRejected

    try:
        return read_report(path.read_bytes())
    except OSError as error:
        raise ReportRejected(f"{path}: {error.strerror}") from error
    except ReportRejected as error:
        raise ReportRejected(f"{path}: {error}") from None


def _unused(name: str, taken: dict[str, Report]) -> str:
    numbers = range(2, len(taken) + 3)
    return next(n for n in (name, *(f"{name} ({k})" for k in numbers)) if n not in taken)


def _written(made: Report | FleetReport, format_: _Format) -> str:
    from ugsd_privacy.audit.report.html import fleet_html, report_html
    from ugsd_privacy.audit.report.markdown import fleet_markdown, report_markdown
    from ugsd_privacy.audit.report.model import Report

    if format_ is _Format.JSON:
        return made.model_dump_json(indent=1) + "\n"
    if isinstance(made, Report):
        return report_html(made) if format_ is _Format.HTML else report_markdown(made)
    return fleet_html(made) if format_ is _Format.HTML else fleet_markdown(made)


def _write(text: str, out: Path | None) -> None:
    from ugsd_privacy.errors import ReportRejected

    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportRejected(f"{out} cannot be written: {error.strerror}") from error
