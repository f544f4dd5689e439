"""``ugsd budget reset``: reset windows of a budget."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, get_args

import typer
from ugsd_privacy.output.terminal import confirm, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd budget reset --user ada
  ugsd budget reset --user ada --window lifetime --yes
"""


class ResetWindow(StrEnum):
    HOUR = "hour"
    DAY = "day"
    LIFETIME = "lifetime"
    ALL = "all"


def register(budget: typer.Typer) -> None:
    """Add the command to ``ugsd budget``."""
    budget.command("reset", epilog=_EPILOG)(reset)


def reset(
    user: UserOption = None,
    window: Annotated[
        list[ResetWindow] | None,
        typer.Option(
            metavar="hour|day|lifetime|all",
            help="Window to reset; may be repeated.  [default: hour and day]",
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Reset windows of a user's budget. The log records the reset."""
    from ugsd_privacy.audit.records import Resettable

    from ugsd_sdk.home import Home, UserEgress

    settings = settings_from(config, home=home, user=user)
    chosen = window or [ResetWindow.HOUR, ResetWindow.DAY]
    windows = [w for w in get_args(Resettable) if w in chosen or ResetWindow.ALL in chosen]
    place, names = Home.from_path(settings.home), " and ".join(windows)
    if not place.is_used():
        print_line(f"{settings.user}: no budget was used yet in {place.path}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("cannot ask for confirmation here: add --yes")
        confirm(f"Reset {names} of {settings.user}?")
    user_egress = UserEgress(place, settings.limits_for(), settings.user)
    try:
        record = user_egress.open().acts.reset(windows)
    finally:
        user_egress.close()
    print_line(f"{settings.user}: {names} reset; logged as record {record}")
