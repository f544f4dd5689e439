"""``ugsd audit report``: what left of a user, for people to read."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ugsd_sdk.cli.forms import FormatOption, OutOption, ReportFormat, write, written
from ugsd_sdk.cli.options import ConfigOption, HomeOption, OwnerKeyOption, UserOption, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.audit.report.gather import Period

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd audit report --user ada --since 7d --out ada.html
  ugsd audit report --user ada --since 2026-01-01 --format md
  ugsd audit report --format json --without-content --out kitchen.json
"""
_SECONDS_PER_DAY = 86_400


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("report", epilog=_EPILOG)(report)


def report(
    user: UserOption = None,
    since: Annotated[
        str, typer.Option(metavar="DATE|Nd", help="First day (UTC), or how many days ago.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Last day (UTC).  [default: today]")
    ] = None,
    format_: FormatOption = ReportFormat.HTML,
    out: OutOption = None,
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
        write(report_schema(), out)
        return
    period = _period(since, until, time.time())
    settings = settings_from(config, home=home, user=user)
    with progress_bar("verifying") as progress:
        made = audit_report(settings, drafter, period, owner_key=owner_key, progress=progress)
    write(written(made.without_content() if without_content else made, format_), out)
    if made.verification.outcome == "failed":
        typer.echo(f"ugsd: the log does NOT verify: {made.verification.message}", err=True)
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
