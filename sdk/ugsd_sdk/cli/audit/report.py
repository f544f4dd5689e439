"""``ugsd audit report``: what was sent for a user, for people to read."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.cli.audit.report_output import (
    FormatOption,
    OutOption,
    ReportFormat,
    render_report,
    write_report,
)
from ugsd_sdk.cli.options import ConfigOption, HomeOption, OwnerKeyOption, UserOption, settings_from

if TYPE_CHECKING:
    from pathlib import Path

    from ugsd_privacy.reports.entries import Period
    from ugsd_privacy.reports.model import Report

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd audit report --user ada --since 7d --out ada.html
  ugsd audit report --user ada --since 7d --until 1d --format md
  ugsd audit report --format json --without-content --out kitchen.json
"""
_SECONDS_PER_DAY = 86_400


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("report", epilog=_EPILOG)(report)


def report(
    user: UserOption = None,
    since: Annotated[
        str, typer.Option(metavar="DATE|Nd", help="First day (UTC), a date or N days ago.")
    ] = "30d",
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE|Nd", help="Last day (UTC), included.  [default: today]"),
    ] = None,
    format_: FormatOption = ReportFormat.HTML,
    out: OutOption = None,
    drafter: Annotated[
        str,
        typer.Option(metavar="starter|free|DIR", help="Drafter whose vocabulary gives the words."),
    ] = "starter",
    home: HomeOption = None,
    config: ConfigOption = None,
    owner_key: OwnerKeyOption = None,
    *,
    without_content: Annotated[
        bool, typer.Option("--without-content", help="Leave out words and user, for sharing.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the schema of the JSON form instead.")
    ] = False,
) -> None:
    """Report in words what was sent for a user.

    Also report under which budget, and whether the log verifies. The exit code is 1 if the log does
    not verify; the report shows where.
    """
    from ugsd_privacy.reports.schema import report_schema

    from ugsd_sdk.cli.progress import progress_bar
    from ugsd_sdk.reports.audit import audit_report

    if schema:
        write_report(report_schema(), out)
        return
    period = _period(since, until, time.time())
    settings = settings_from(config, home=home, user=user)
    with progress_bar("verifying") as progress:
        result = audit_report(
            settings,
            drafter,
            period,
            owner_key=owner_key,
            progress=progress,
            warn=partial(print_error, "ugsd"),
        )
    shown = result.redacted() if without_content else result
    write_report(render_report(shown, format_), out, private=not without_content)
    if result.verification.outcome != "failed":
        _warn_if_empty(result, settings.home)
    else:
        print_error("ugsd", f"the log does NOT verify: {result.verification.message}")
        raise typer.Exit(1)


def _period(since: str, until: str | None, now_s: float) -> Period:
    """Return the period in whole days, UTC."""
    from ugsd_privacy.reports.entries import Period

    today = int(now_s) // _SECONDS_PER_DAY
    first = _day(since, "--since", today)
    last = today if until is None else _day(until, "--until", today)
    if first > last:
        raise typer.BadParameter("--since is after --until: exchange them")
    return Period(first * _SECONDS_PER_DAY, (last + 1) * _SECONDS_PER_DAY)


def _day(text: str, option: str, today: int) -> int:
    """Return the day's number since 1970."""
    ago = re.fullmatch(r"(\d{1,5})d", text)
    if ago is not None:
        return max(0, today - int(ago[1]))
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return max(0, int(day.timestamp()) // _SECONDS_PER_DAY)
    except ValueError:
        raise typer.BadParameter(
            f"{option}: give a date such as 2026-01-31, or 7d for seven days ago; not {text!r}"
        ) from None


def _warn_if_empty(result: Report, home: Path) -> None:
    """Print a note if the report is empty, since a mistyped user or home looks the same."""
    from ugsd_sdk.home import Home
    from ugsd_sdk.reports.verification import open_view

    if result.total.frames or result.earlier or result.later:
        return
    place = Home.from_path(home)
    with open_view(place) as view:
        users = [] if view is None else view.users()
    others = f"; it has records of {', '.join(map(repr, users))}" if users else ""
    print_error("ugsd", f"the log at {place.ledger} has no records of {result.user!r}{others}")
