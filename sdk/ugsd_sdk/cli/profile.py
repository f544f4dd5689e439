"""``ugsd profile``: show or delete a user's speaker profile."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the commands."""
    profile = typer.Typer(
        no_args_is_help=True,
        help="Show or delete a speaker profile, which is never sent.",
        epilog="Example: ugsd profile show --user ada",
    )
    profile.command("show", epilog="Example: ugsd profile show --user ada")(show)
    profile.command("delete", epilog="Example: ugsd profile delete --user ada")(delete)
    app.add_typer(profile, name="profile")


def show(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show how many clips enrolled a user.

    Also print whether the user's states may be sent yet.
    """
    from ugsd_sdk.home import Home
    from ugsd_sdk.profile.speaker_profile import num_enrolled_clips

    settings = settings_from(config, home=home, user=user)
    enrolled = num_enrolled_clips(Home.from_path(settings.home).profiles, settings.user)
    missing = max(0, settings.min_enrolment - enrolled)
    if as_json:
        fields = {"user": settings.user, "num_enrolled": enrolled, "num_missing": missing}
        print_json(json.dumps(fields))
        return
    print_line(f"{settings.user}: {enrolled} clips enrolled; their average stays on this device")
    more = "1 more clip is" if missing == 1 else f"{missing} more clips are"
    print_line(
        f"{more} needed before a state may be sent"
        if missing
        else "states may be sent, within the budget"
    )


def delete(user: UserOption = None, home: HomeOption = None, config: ConfigOption = None) -> None:
    """Delete the speaker profile. No state is sent until the user is enrolled again."""
    from ugsd_sdk.home import Home
    from ugsd_sdk.profile.speaker_profile import delete_profile

    settings = settings_from(config, home=home, user=user)
    is_deleted = delete_profile(Home.from_path(settings.home).profiles, settings.user)
    outcome = "speaker profile deleted" if is_deleted else "no speaker profile"
    print_line(f"{settings.user}: {outcome}")
