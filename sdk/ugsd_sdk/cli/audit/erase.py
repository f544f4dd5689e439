"""``ugsd audit erase``: erase the content of records; counts and proofs stay in the log."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.audit.open_log import fail
from ugsd_sdk.cli.options import ConfigOption, HomeOption, nothing_sent, settings_from

if TYPE_CHECKING:
    from ugsd_sdk.home import Home

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_SECONDS_PER_DAY = 86_400
_MOST_DAYS = 36_500
_CAPTION_HEX = 32


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("erase", epilog="Example: ugsd audit erase --older-than 30 --yes")(erase)


def erase(
    before: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="Only what was sent before this day (UTC)."
        ),
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            min=0, max=_MOST_DAYS, metavar="DAYS", help="Only what was sent DAYS ago or earlier."
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what was sent for this caption.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what was charged to this user.")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase the logged content of what was sent, for good.

    All of it is erased, or what the options select. The journal of why blocks were sent or
    kept is erased too. Charges, counts and proofs stay, and a record of the log shows the erasure.
    Ages count in whole hours, as charges do.
    """
    from ugsd_sdk.home import Home, UserEgress

    settings, named = settings_from(config, home=home), _caption(caption)
    place = Home.from_path(settings.home)
    if not place.is_used():
        print_line(nothing_sent(place))
        return
    user = _require_known(place, user, named)
    if before is not None and older_than is not None:
        raise typer.BadParameter("give only one of --before and --older-than")
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("cannot ask for confirmation here: add --yes")
        typer.confirm("Erase the logged content of what was sent, for good?", abort=True)
    before_s = None if before is None else before.replace(tzinfo=UTC).timestamp()
    if older_than is not None:
        before_s = time.time() - older_than * _SECONDS_PER_DAY
    user_egress = UserEgress(place, settings.limits_for(), settings.user)
    try:
        count, leaf = user_egress.open().acts.erase(before_s=before_s, user=user, caption=named)
    finally:
        user_egress.close()
    logged = f"; logged as record {leaf}" if count else ""
    print_line(f"{count} bodies erased{logged}")


def _require_known(place: Home, user: str | None, caption: bytes | None) -> str | None:
    """Return the user's name as the log has it. End the command for an unknown user or caption, so
    that nobody believes that a mistyped name's records were erased."""
    from ugsd_privacy.user_names import normal_user

    from ugsd_sdk.reports.verification import open_view

    with open_view(place) as view:
        users = [] if view is None else view.users()
        known = caption is None or (view is not None and view.caption_leaves(caption))
    if user is not None and user not in users:  # early logs hold names that are not normal
        user = normal_user(user)
    if user is not None and user not in users:
        fail(
            f"the log has no records of {user!r}; it has records of "
            f"{', '.join(map(repr, users)) or 'no user'}"
        )
    if not known:
        fail("the log has no such caption: `ugsd audit show --json` lists the ids")
    return user


def _caption(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        caption = bytes.fromhex(text)
    except ValueError:
        caption = b""
    if len(text) != _CAPTION_HEX or not caption:
        raise typer.BadParameter(f"a caption's id must have {_CAPTION_HEX} hexadecimal digits")
    return caption
