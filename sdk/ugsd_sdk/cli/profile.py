"""``ugsd profile``: show, reset or delete a user's speaker profile."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

if TYPE_CHECKING:
    from pathlib import Path

    from ugsd_sdk.profile.usual_prosody import UsualProsody
    from ugsd_sdk.settings.config import Settings

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    profile = typer.Typer(
        no_args_is_help=True,
        help="Show, reset or delete a speaker profile (never sent).",
        epilog="Example: ugsd profile show --user ada",
    )
    for name, command in (("show", show), ("reset", reset), ("delete", delete)):
        profile.command(name, epilog=f"Example: ugsd profile {name} --user ada")(command)
    app.add_typer(profile, name="profile")


def show(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: _JsonOption = False,
) -> None:
    """Show what enrolled a user.

    Prints the number of clips and the seconds of speech in the profile, the user's usual pitch and
    pace with the number of clips that they rest on, and whether the user's states may be sent yet.
    """
    from ugsd_sdk.profile.matching import Enrolment
    from ugsd_sdk.profile.profile_file import stored_profile, user_profile_path
    from ugsd_sdk.profile.set_aside import files_aside
    from ugsd_sdk.settings.config import ANONYMOUS

    settings = settings_from(config, home=home, user=user)
    folder = _folder(settings)
    profile = stored_profile(folder, settings.user)
    is_enrolled = Enrolment(settings.min_enrolment, settings.min_enrolment_s).is_reached(profile)
    needs_clips = settings.min_enrolment > 0
    missing = max(0, settings.min_enrolment - profile.count)
    missing_s = max(0.0, settings.min_enrolment_s - profile.duration_s) if needs_clips else 0.0
    asides = list(map(str, files_aside(user_profile_path(folder, settings.user))))
    if as_json:
        fields = {
            "user": settings.user,
            "num_enrolled": profile.count,
            "num_missing": missing,
            "duration_s": round(profile.duration_s, 3),
            "missing_s": round(missing_s, 3),
            "is_enrolled": is_enrolled,
            **_usual_fields(profile.usual),
            "set_aside": asides,
        }
        print_json(json.dumps(fields))
        return
    if settings.user == ANONYMOUS:
        print_line(f"{ANONYMOUS}: users without a name have no profile; give a name with --user")
        return
    print_line(
        f"{settings.user}: {_count(profile.count, 'clip')} enrolled, {profile.duration_s:.1f} s of "
        "speech; the profile stays on this device"
    )
    print_line(_usual_line(profile.usual))
    if is_enrolled:
        print_line("states may be sent, within the budget")
    else:
        verb = "is" if missing == 1 and not missing_s else "are"
        parts = [_count(missing, "more clip")] if missing else []
        parts += [f"{missing_s:.1f} more seconds of speech"] if missing_s else []
        print_line(f"{' and '.join(parts)} {verb} needed before a state may be sent")
    for aside in asides:
        print_line(
            f"a profile of another drafter or release is kept as {aside}: it is taken up again "
            "with its drafter; `ugsd profile delete` deletes it too"
        )


def reset(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: _JsonOption = False,
) -> None:
    """Empty the speaker profile.

    Do this after a change of voice or microphone. Those that were set aside for other drafters are
    deleted. No state is sent until the user is enrolled again.
    """
    from ugsd_sdk.profile.profile_file import reset_profile

    settings = settings_from(config, home=home, user=user)
    is_reset = reset_profile(_folder(settings), settings.user)
    _print_outcome(settings.user, "reset", is_done=is_reset, as_json=as_json)


def delete(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: _JsonOption = False,
) -> None:
    """Delete the speaker profile.

    Those that were set aside are deleted as well. No state is sent until the user is enrolled
    again.
    """
    from ugsd_sdk.profile.profile_file import delete_profile

    settings = settings_from(config, home=home, user=user)
    is_deleted = delete_profile(_folder(settings), settings.user)
    _print_outcome(settings.user, "deleted", is_done=is_deleted, as_json=as_json)


def _usual_fields(usual: UsualProsody) -> dict[str, float | int | None]:
    pitch, pace = usual.pitch_st, usual.pace
    return {
        "usual_pitch_hz": round(_hz(pitch.mean), 1) if pitch.count else None,
        "num_pitch_clips": pitch.count,
        "usual_pace": round(pace.mean, 2) if pace.count else None,
        "num_pace_clips": pace.count,
    }


def _usual_line(usual: UsualProsody) -> str:
    pitch, pace = usual.pitch_st, usual.pace
    parts = []
    if pitch.count:
        parts.append(f"pitch {_hz(pitch.mean):.0f} Hz ({_count(pitch.count, 'clip')})")
    if pace.count:
        parts.append(f"pace {pace.mean:.1f} syllables a second ({_count(pace.count, 'clip')})")
    return f"usual {', '.join(parts)}" if parts else "usual pitch and pace are not known yet"


def _hz(pitch_st: float) -> float:
    """Return the frequency of a pitch in semitones above 100 Hz."""
    return 100.0 * math.exp2(pitch_st / 12)


def _folder(settings: Settings) -> Path:
    from ugsd_sdk.home import Home

    return Home.from_path(settings.home).profiles


def _print_outcome(user: str, outcome: str, *, is_done: bool, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"user": user, outcome: is_done}))
    else:
        print_line(f"{user}: {f'speaker profile {outcome}' if is_done else 'no speaker profile'}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
