"""``ugsd caption``: caption clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.cli.caption_outputs import output_for
from ugsd_sdk.cli.clip_inputs import ClipInput, clip_inputs
from ugsd_sdk.cli.formats import OutputFormat
from ugsd_sdk.cli.interruption import ended_by_sigterm
from ugsd_sdk.cli.options import (
    ConfigOption,
    DrafterOption,
    HomeOption,
    LengthOption,
    OfflineOption,
    SeedOption,
    UserOption,
    VerifierKeyOption,
    VerifierManifestOption,
    VerifierOption,
    VerifierRootOption,
    note_unused_key,
    settings_from,
)

if TYPE_CHECKING:
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.settings.config import Settings

__all__ = ["await_verifier", "register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd caption voice.wav
  ugsd caption --user ada --verifier embedded monday.wav tuesday.wav
  ugsd caption recordings --out captions.csv --jobs 2
  ugsd caption recordings --out captions.csv --resume
  ugsd caption recordings --format vtt --out subtitles/
  ugsd caption calls --user-from folder --json
  ffmpeg -v error -i clip.mov -f wav - | ugsd caption -
  arecord -f S16_LE -r 16000 -d 4 -t raw | ugsd caption --raw 16000 -
  ugsd caption --verifier wss://captions.example.org \\
    --verifier-root root.key.pin --verifier-manifest verifier.manifest voice.opus

Settings also come from --config and from UGSD_ variables, such as UGSD_VERIFIER__URL.

Exit codes: 0 every clip has a caption, 1 one has none, 2 wrong usage or settings, 130 interrupted,
143 terminated.
"""


class _UserFrom(StrEnum):
    """Whose voice a clip is, by its path."""

    FOLDER = "folder"
    FILE = "file"

    def user_of(self, clip: ClipInput) -> str | None:
        """Return the user's name; ``None`` for standard input."""
        if self is _UserFrom.FOLDER or clip.is_stdin:
            return clip.folder
        return Path(clip.path).stem


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("caption", epilog=_EPILOG)(caption)


def caption(
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP", help="Audio files, folders of them, or - for stdin."),
    ],
    *,
    kind: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format", show_choices=True, help="How captions are written.  [default: text]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format jsonl.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER/", help="Write to a file, or to a file for each clip in a folder."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --out: skip what is there already.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --out: replace files that exist.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Clips at once, of different people.  [default: 1]",
            show_default=False,
        ),
    ] = 1,
    details: Annotated[
        bool, typer.Option("--details", help="With --json: tokens, decisions and receipts too.")
    ] = False,
    length: LengthOption = None,
    seed: SeedOption = None,
    offline: OfflineOption = False,
    verifier: VerifierOption = None,
    verifier_root: VerifierRootOption = None,
    verifier_manifest: VerifierManifestOption = None,
    verifier_key: VerifierKeyOption = None,
    drafter: DrafterOption = "starter",
    user: UserOption = None,
    user_from: Annotated[
        _UserFrom | None,
        typer.Option(
            show_choices=True, help="Name each clip's user after its folder, or its file."
        ),
    ] = None,
    raw: Annotated[
        int | None,
        typer.Option(
            metavar="RATE",
            min=1,
            max=1_000_000,
            help="Clips are mono 16-bit samples (little-endian) of this rate in Hz.",
        ),
    ] = None,
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

    Of a folder, the audio files in it and below are captioned. A clip that cannot be captioned does
    not stop the others. Without --user, --user-from or --profile, each clip is captioned by itself,
    and nothing of the voice is kept.
    """
    if as_json and kind not in {None, OutputFormat.JSONL}:
        raise typer.BadParameter(f"--json is --format jsonl: leave it out, or --format {kind}")
    if user_from and (user or profile):
        raise typer.BadParameter("--user-from names the users: leave out --user and --profile")
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
    note_unused_key(settings, verifier_root, verifier_manifest, verifier_key)
    faults = 0

    def report(path: str, fault: str) -> None:
        nonlocal faults
        faults += 1
        print_error("ugsd", f"{plain_line(path)}: {fault}")

    found = clip_inputs(clips, report)
    output = output_for(
        out, OutputFormat.JSONL if as_json else kind, found,
        details=details, resume=resume, force=force,
    )  # fmt: skip
    user_of = user_from.user_of if user_from else _nobody
    _check_names(found, user_of)
    with ended_by_sigterm(), closing(output):
        if waiting := output.begin(found):
            from ugsd_sdk.cli.caption_run import CaptionRun

            run = CaptionRun(drafter, settings, profile, user_of, length, seed, raw, jobs)
            run.caption_all(waiting, output, report, await_verifier)
        output.finish()
    raise typer.Exit(1 if faults else 0)


def _nobody(clip: ClipInput) -> None:
    return None


def _check_names(clips: Sequence[ClipInput], user_of: Callable[[ClipInput], str | None]) -> None:
    """Raise :class:`typer.BadParameter` if a clip's user would have a name that is refused."""
    from ugsd_privacy.errors import UserNameRefused
    from ugsd_privacy.user_names import normal_user

    for clip in clips:
        name = user_of(clip)
        try:
            if name is not None:
                normal_user(name)
        except UserNameRefused as error:
            raise typer.BadParameter(f"--user-from: {clip.path}: {error}") from None


def await_verifier(captioner: Captioner, settings: Settings, user: str | None = None) -> bool:
    """Wait for the connection of ``user``, so that their first clip has a verifier too.

    The wait for a remote verifier is as long as the one for a block; the embedded verifier first
    has to start. Returns whether the verifier can be waited for again: it is not if it could not be
    reached.
    """
    from ugsd_privacy.errors import PrivacyError

    from ugsd_sdk.errors import TransportError
    from ugsd_sdk.settings.config import EMBEDDED

    verifier = settings.verifier
    is_embedded = verifier.url == EMBEDDED
    try:
        captioner.wait_until_connected(
            verifier.connect_timeout_s + 1 if is_embedded else verifier.deadline_s, user=user
        )
    except (TransportError, PrivacyError) as error:
        of_user = "" if user is None else f" for the user {user}"
        print_error("ugsd", f"continuing{of_user} without the verifier: {error}")
        return not isinstance(error, TransportError)
    return True
