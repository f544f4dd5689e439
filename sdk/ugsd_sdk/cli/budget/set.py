"""``ugsd budget set``: the owner's caps on this device."""

from __future__ import annotations

from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.budget.show import number
from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd budget set tokens_per_day=200 blocks_per_caption=2 --user ada
  ugsd budget set bytes_per_lifetime=1000000 --everyone
  ugsd budget set tokens_per_day=none --user ada

A cap is MEASURE_per_WINDOW: blocks, tokens, frames, bytes or epsilon per caption, recording,
hour, day or lifetime.
"""


def register(budget: typer.Typer) -> None:
    """Add the command to ``ugsd budget``."""
    budget.command("set", epilog=_EPILOG)(set_caps)


def set_caps(
    caps: Annotated[list[str], typer.Argument(metavar="CAP=VALUE", help="`none` removes a cap.")],
    *,
    user: UserOption = None,
    everyone: Annotated[
        bool, typer.Option("--everyone", help="Set the caps for every user.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Set caps on this device. An application cannot raise them: the smaller cap applies."""
    from ugsd_privacy.ledger import ALL_USERS

    from ugsd_sdk.home import Home, UserEgress
    from ugsd_sdk.reports.budget import budget_report

    if everyone and user is not None:
        raise typer.BadParameter("give only one of --everyone and --user")
    new_caps = dict(map(_cap, caps))
    if len(new_caps) < len(caps):
        raise typer.BadParameter("a cap is given twice: delete one")
    settings = settings_from(config, home=home, user=user)
    user_egress = UserEgress(Home.from_path(settings.home), settings.limits_for(), settings.user)
    try:
        user_egress.set_caps(ALL_USERS if everyone else settings.user, new_caps)
    finally:
        user_egress.close()
    in_force = {row.cap: row.in_force for row in budget_report(settings).rows}
    whose = "everyone" if everyone else settings.user
    for cap, value in new_caps.items():
        on_device = "no cap set on this device" if value is None else f"at most {value:g}"
        force = number(in_force.get(cap))
        print_line(f"{whose}: {cap}: {on_device}; in force for {settings.user}: {force}")


def _cap(text: str) -> tuple[str, float | None]:
    """Parse ``CAP=VALUE``; the value ``None`` removes the cap."""
    from difflib import get_close_matches

    from pydantic import ValidationError
    from ugsd_privacy.budget import CAPS, BudgetLimits

    cap, is_given, value = text.partition("=")
    if cap not in CAPS:
        near = get_close_matches(cap, CAPS, n=1)
        raise typer.BadParameter(
            f"{cap}: no such cap: "
            + (f"did you mean {near[0]}?" if near else f"give one of {', '.join(CAPS)}")
        )
    if not is_given:
        raise typer.BadParameter(f"{cap}: give it a value: {cap}=100")
    if value.strip().lower() == "none":
        return cap, None
    try:
        plain = value.strip().encode("ascii").replace(b"_", b"?")
        number = float(plain) if cap.startswith("epsilon") else int(plain)
        BudgetLimits.without_caps(**{cap: number})
    except (ValueError, ValidationError):
        kind = "a number" if cap.startswith("epsilon") else "a whole number"
        raise typer.BadParameter(
            f"{cap}: give {kind} of 0 or more, or none; not {value!r}"
        ) from None
    return cap, number
