"""``ugsd audit erase``: forget what left; that it left stays in the log."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import tell

from ugsd_sdk.cli.log import fail
from ugsd_sdk.cli.options import ConfigOption, HomeOption, settings_from

if TYPE_CHECKING:
    from ugsd_sdk.home import Home

__all__ = ["erase"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_SECONDS_PER_DAY = 86_400
_MOST_DAYS = 36_500
_CAPTION_HEX = 32


def erase(
    before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="What left before this day (UTC)."),
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            min=0, max=_MOST_DAYS, metavar="DAYS", help="What left so many days ago or more."
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="ID", help="What left for this caption.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="What was charged to this user.")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase what the log keeps of what left, for good: all of it, or what the options choose.

    The device's notes of why blocks stayed or left go too. Charges, counts and proofs stay, and the
    log says that you erased the rest. Ages count in whole hours, as charges do.
    """
    from ugsd_sdk.home import Home, UserEgress

    settings, named = settings_from(config, home=home), _caption(caption)
    place = Home.from_path(settings.home)
    if not place.is_used():
        tell(f"no log at {place.ledger}: nothing has left yet from this home")
        return
    user = _require_known(place, user, named)
    if before is not None and older_than is not None:
        raise typer.BadParameter("give --before or --older-than, one of the two")
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody to ask: repeat it with --yes")
        typer.confirm("Erase what the log keeps of what left, for good?", abort=True)
    before_s = None if before is None else before.replace(tzinfo=UTC).timestamp()
    if older_than is not None:
        before_s = time.time() - older_than * _SECONDS_PER_DAY
    user_egress = UserEgress(place, settings.limits_for(), settings.user)
    try:
        count, leaf = user_egress.open().erase(before_s=before_s, user=user, caption=named)
    finally:
        user_egress.close()
    said = f"; record {leaf} of the log says so" if count else ""
    tell(f"{count} bodies erased{said}")


def _require_known(place: Home, user: str | None, caption: bytes | None) -> str | None:
    """The user as the log knows them: whoever mistypes a name is not to believe that what left of
    it is gone. Ends the command for an unknown one."""
    from ugsd_privacy.user_names import normal_user

    from ugsd_sdk.reports.verification import open_view

    with open_view(place) as view:
        users = [] if view is None else view.users()
        known = caption is None or (view is not None and view.caption_leaves(caption))
    if user is not None and user not in users:  # an early log may know them as they are given
        user = normal_user(user)
    if user is not None and user not in users:
        fail(f"the log has nothing of {user!r}; it knows {', '.join(map(repr, users)) or 'nobody'}")
    if not known:
        fail("the log has no such caption; see `ugsd audit show --json`")
    return user


def _caption(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        caption = bytes.fromhex(text)
    except ValueError:
        caption = b""
    if len(text) != _CAPTION_HEX or not caption:
        raise typer.BadParameter(f"a caption's id has {_CAPTION_HEX} hexadecimal digits")
    return caption
