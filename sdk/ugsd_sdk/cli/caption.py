"""``ugsd caption``: caption clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error, print_json

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

if TYPE_CHECKING:
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.profile.profile import Profile
    from ugsd_sdk.settings.config import Settings

__all__ = ["await_verifier", "register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd caption voice.wav
  ugsd caption --user ada --verifier embedded monday.wav tuesday.wav
  ugsd caption --verifier embedded --json *.wav
  ugsd caption --verifier wss://captions.example.org \\
    --verifier-root root.key.pin --verifier-manifest verifier.manifest voice.opus

Settings also come from --config and from UGSD_ variables, such as UGSD_VERIFIER__URL.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("caption", epilog=_EPILOG)(caption)


def caption(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP", help="Audio files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    details: Annotated[
        bool, typer.Option("--details", help="With --json: tokens, decisions and receipts too.")
    ] = False,
    length: Annotated[
        CaptionLength | None,
        typer.Option(help="How much a caption says.  [default: normal]", show_choices=True),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=2**32 - 1, help="Chooses among wordings.  [default: 0]"
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no verifier; send nothing.")
    ] = False,
    verifier: Annotated[
        str | None,
        typer.Option(metavar="embedded|URL", help="Verifier: `embedded`, or a ws/wss address."),
    ] = None,
    verifier_root: Annotated[
        str | None,
        typer.Option(metavar="FILE|TEXT", help="The root key that signed the verifier's manifest."),
    ] = None,
    verifier_manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest of the verifier's keys.")
    ] = None,
    verifier_key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|TEXT",
            help="Public key of a verifier on this machine, instead of root and manifest.",
        ),
    ] = None,
    drafter: Annotated[
        str, typer.Option(metavar="starter|free|DIR", help="The model on this device.")
    ] = "starter",
    user: UserOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The speaker's profile instead of the user's; made if it is missing, and updated.",
        ),
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
) -> None:
    """Caption clips. Without a verifier nothing is sent from this device.

    A clip that cannot be captioned does not stop the others. Without --user or --profile, each clip
    is captioned by itself, and nothing of the voice is kept.
    """
    if offline and (verifier or verifier_root or verifier_manifest or verifier_key):
        raise typer.BadParameter(
            "--offline uses no verifier: leave out the options of the verifier"
        )
    if details and not as_json:
        raise typer.BadParameter("--details prints JSON: add --json")
    settings = settings_from(
        config,
        home=home,
        user=user,
        verifier=verifier,
        verifier_root=verifier_root,
        verifier_manifest=verifier_manifest,
        verifier_key=verifier_key,
        offline=offline,
    )
    if settings.verifier.url is None and (verifier_root or verifier_manifest or verifier_key):
        print_error("ugsd", "no verifier is used, although its key is given: add --verifier")
    speaker = None if profile is None else _profile_at(profile)
    try:
        failed = _caption_all(
            clips, drafter, settings, speaker,
            length=length, seed=seed, as_json=as_json, details=details,
        )  # fmt: skip
    finally:
        if speaker is not None and speaker.num_clips:
            speaker.save(profile)
    raise typer.Exit(1 if failed else 0)


def _profile_at(path: Path) -> Profile:
    from ugsd_sdk.profile.profile import Profile

    return Profile.load(path) if path.exists() else Profile()


def _caption_all(
    clips: list[str],
    drafter: str,
    settings: Settings,
    profile: Profile | None,
    *,
    length: CaptionLength | None,
    seed: int | None,
    as_json: bool,
    details: bool,
) -> int:
    """Print every clip's caption or error, and return the number of failures."""
    from ugsd_sdk.caption import escaped_path
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption_output import legend, print_caption, stdout
    from ugsd_sdk.errors import AudioError

    console, failed, blocks = stdout(), 0, 0
    with Captioner(drafter, config=settings) as captioner:
        await_verifier(captioner, settings)
        for clip in clips:
            try:
                caption = captioner.caption(clip, profile=profile, length=length, seed=seed)
            except AudioError as error:
                failed += 1
                print_error("ugsd", f"{plain_line(clip)}: {str(error).removeprefix(f'{clip!r} ')}")
                if as_json:
                    fault = {"type": type(error).__name__, "message": str(error)}
                    print_json(json.dumps({"path": escaped_path(clip), "error": fault}))
                continue
            blocks += caption.usage.num_blocks
            if as_json:
                print_json(caption.to_json(details=details))
            else:
                print_caption(console, caption)
    if blocks and not as_json:
        console.print(legend(colour=console.is_terminal))
    return failed


def await_verifier(captioner: Captioner, settings: Settings) -> None:
    """Wait for the connection, so that the first clip has a verifier too.

    The wait for a remote verifier is as long as the one for a block; the embedded verifier first
    has to start.
    """
    from ugsd_privacy.errors import PrivacyError

    from ugsd_sdk.errors import TransportError
    from ugsd_sdk.settings.config import EMBEDDED

    verifier = settings.verifier
    is_embedded = verifier.url == EMBEDDED
    try:
        captioner.wait_until_connected(
            verifier.connect_timeout_s + 1 if is_embedded else verifier.deadline_s
        )
    except (TransportError, PrivacyError) as error:
        print_error("ugsd", f"continuing without the verifier: {error}")
