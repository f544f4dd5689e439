"""``ugsd profile``: what this device knows of a user's voice, and forgetting it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the commands."""
    profile = typer.Typer(
        no_args_is_help=True,
        help="What this device knows of a user's voice; it never leaves.",
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
    """Show how many clips the profile holds, and whether states of the user may be sent yet."""
    from ugsd_sdk.home import Home
    from ugsd_sdk.profile.speaker_profile import num_enrolled_clips

    settings = settings_from(config, home=home, user=user)
    heard = num_enrolled_clips(Home.from_path(settings.home).profiles, settings.user)
    lacking = max(0, settings.min_enrolment - heard)
    if as_json:
        print_json(json.dumps({"user": settings.user, "heard": heard, "lacking": lacking}))
        return
    print_line(f"{settings.user}: {heard} clips heard; their average is kept on this device alone")
    print_line(
        f"{lacking} more until a state may leave" if lacking else "states may leave, within budget"
    )


def delete(user: UserOption = None, home: HomeOption = None, config: ConfigOption = None) -> None:
    """Delete the speaker profile. No state is sent until the user is enrolled again."""
    from ugsd_sdk.home import Home
    from ugsd_sdk.profile.speaker_profile import delete_profile

    settings = settings_from(config, home=home, user=user)
    known = delete_profile(Home.from_path(settings.home).profiles, settings.user)
    print_line(f"{settings.user}: forgotten" if known else f"{settings.user}: nothing was known")
