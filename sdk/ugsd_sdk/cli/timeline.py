"""``ugsd timeline``: a long recording as a timeline, with a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_error, print_file, print_json, print_line

from ugsd_sdk.cli.clip_inputs import STDIN
from ugsd_sdk.cli.formats import TimelineFormat, format_of
from ugsd_sdk.cli.interruption import TERMINATED, ended_by_sigterm
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
from ugsd_sdk.cli.output_files import is_one_of, require_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ugsd_sdk.timelines import Timeline

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd timeline call.wav
  ugsd timeline call.wav --channels agent,customer --out call.svg
  ugsd timeline meeting.flac --channels together --format vtt
  ugsd timeline day.wav --checkpoint day.checkpoint --out day.json

Exit codes: 0 success, 1 a failure, 2 wrong usage or settings, 130 interrupted,
143 terminated.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("timeline", epilog=_EPILOG)(timeline)


def timeline(
    recording: Annotated[str, typer.Argument(metavar="FILE", help="An audio file of up to 12 h.")],
    *,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="apart|together|NAME,NAME",
            help="How channels are read; names, left first, are read apart.  [default: apart]",
        ),
    ] = None,
    form: Annotated[
        TimelineFormat | None,
        typer.Option(
            "--format", help="What is written.  [default: by --out, or text]", show_choices=True
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file; its suffix says what, too."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --out: replace a file that exists.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Continue from this file, or begin it. It holds speaker profiles."
        ),
    ] = None,
    length: LengthOption = None,
    seed: SeedOption = None,
    offline: OfflineOption = False,
    verifier: VerifierOption = None,
    verifier_root: VerifierRootOption = None,
    verifier_manifest: VerifierManifestOption = None,
    verifier_key: VerifierKeyOption = None,
    drafter: DrafterOption = "starter",
    user: UserOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
) -> None:
    """Caption the utterances of a long recording, with a picture.

    Channels are read apart unless --channels says otherwise: each is one speaker, with a speaker
    profile that lasts as long as the command. An interrupted command continues from its
    --checkpoint when it is run again.
    """
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption import await_verifier
    from ugsd_sdk.cli.progress import progress_bar

    if force and out is None:
        raise typer.BadParameter("--force goes with --out")
    chosen = _chosen_format(form, out)
    _check_files(recording, checkpoint, out, force=force)
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
    try:
        with ended_by_sigterm(), Captioner(drafter, config=settings) as captioner:
            await_verifier(captioner, settings)
            with progress_bar("recording") as advance:
                made = captioner.timeline(
                    recording,
                    channels=_channels(channels or "apart"),
                    length=length,
                    seed=seed,
                    checkpoint=checkpoint,
                    on_progress=lambda done_s, all_s: advance(int(done_s), int(all_s or 0)),
                )
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != TERMINATED:
            raise
        if checkpoint is not None:
            print_error("ugsd", f"interrupted: run the same command to continue from {checkpoint}")
        else:
            print_error("ugsd", "interrupted: with --checkpoint FILE it could be continued")
        raise
    if channels is None:
        made = _without_default_notes(made)
    _write(made, chosen, out)


def _chosen_format(form: TimelineFormat | None, out: Path | None) -> TimelineFormat:
    """Return the format; raises :class:`typer.BadParameter` if it is not clear."""
    if form is None:
        return TimelineFormat.TEXT if out is None else format_of(out, TimelineFormat)
    if form is TimelineFormat.PNG and out is None:
        raise typer.BadParameter("a picture in PNG needs a file: add --out FILE.png")
    return form


def _check_files(recording: str, checkpoint: Path | None, out: Path | None, *, force: bool) -> None:
    """Raise :class:`typer.BadParameter` if a file would be read and written, or be replaced."""
    if recording == STDIN:
        raise typer.BadParameter(
            "a timeline needs a file, which is read twice: save standard input to one, or run "
            "`ugsd listen -`"
        )
    for option, path in (("--checkpoint", checkpoint), ("--out", out)):
        if path is not None and is_one_of(path, [recording]):
            raise typer.BadParameter(f"{path} is the recording: give another file to {option}")
    if out is not None:
        if checkpoint is not None and is_one_of(out, [checkpoint]):
            raise typer.BadParameter(
                f"{out} is the checkpoint: give another file to --out or --checkpoint"
            )
        require_new(out, force=force)


def _channels(text: str) -> str | Sequence[str]:
    names = [name.strip() for name in text.split(",")]
    return text if len(names) == 1 and text in ("apart", "together") else names


def _without_default_notes(timeline: Timeline) -> Timeline:
    """Leave out the note that there is only one channel: nobody asked for several."""
    from ugsd_sdk.timelines import TimelineNote

    notes = tuple(note for note in timeline.notes if note is not TimelineNote.ONE_CHANNEL)
    return timeline.model_copy(update={"notes": notes})


def _write(timeline: Timeline, form: TimelineFormat, out: Path | None) -> None:
    from ugsd_privacy.files.atomic_files import write_atomically

    if out is not None:
        data = (
            f"{_text(timeline)}\n".encode()
            if form is TimelineFormat.TEXT
            else timeline.contents_of(f".{form}")
        )
        write_atomically(out, data)
        count = sum(len(one.utterances) for one in timeline.channels)
        print_line(f"{out}: {count} utterance{'' if count == 1 else 's'}")
    elif form is TimelineFormat.TEXT:
        print_line(*_text(timeline).splitlines())
    elif form is TimelineFormat.JSON:
        print_json(timeline.to_json())
    elif form is TimelineFormat.JSONL:
        for one in timeline.captions():
            print_json(one.to_json())
    else:
        print_file(timeline.contents_of(f".{form}").decode())


def _text(timeline: Timeline) -> str:
    from ugsd_sdk.exports.clock import clock

    lines = [f"{timeline.path or 'recording'}: {clock(timeline.duration_s)}"]
    lines += [f"  {note.replace('_', ' ')}" for note in timeline.notes]
    for one in timeline.captions():
        voice = f"{one.channel}: " if one.channel else ""
        lines.append(f"  {clock(one.start_s):>7}  {voice}{one.text}")
    for channel in timeline.channels:
        share = (
            "" if channel.talk_share is None else f", {100 * channel.talk_share:.0f} % of the talk"
        )
        lines.append(f"{channel.label}: {clock(channel.speech_s)} of speech{share}")
        lines.append(f"  {channel.summary}")
        lines += [f"  turning point at {point}" for point in channel.turning_points]
    return "\n".join(lines)
