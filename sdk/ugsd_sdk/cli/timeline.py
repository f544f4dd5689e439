"""``ugsd timeline``: a long recording as a timeline, with a picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_error, print_json, print_line

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

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

Exit codes: 0 success, 1 a failure, 2 wrong usage or settings, 130 interrupted.
"""


class _Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    VTT = "vtt"
    SRT = "srt"
    CSV = "csv"
    SVG = "svg"
    PNG = "png"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("timeline", epilog=_EPILOG)(timeline)


def timeline(
    recording: Annotated[str, typer.Argument(metavar="FILE", help="An audio file of up to 12 h.")],
    *,
    channels: Annotated[
        str,
        typer.Option(
            metavar="apart|together|NAME,NAME",
            help="How channels are read; names, left first, are read apart.",
        ),
    ] = "apart",
    form: Annotated[
        _Format | None,
        typer.Option(
            "--format", help="What is written.  [default: by --out, or text]", show_choices=True
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file; its suffix says what, too."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            "--resume",
            metavar="FILE",
            help="Continue from this file, or begin it. It holds speaker profiles.",
        ),
    ] = None,
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

    if offline and (verifier or verifier_root or verifier_manifest or verifier_key):
        raise typer.BadParameter(
            "--offline uses no verifier: leave out the options of the verifier"
        )
    chosen = _chosen_format(form, out)
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
    try:
        with Captioner(drafter, config=settings) as captioner:
            await_verifier(captioner, settings)
            with progress_bar("recording") as advance:
                made = captioner.timeline(
                    recording,
                    channels=_channels(channels),
                    length=length,
                    seed=seed,
                    checkpoint=checkpoint,
                    on_progress=lambda done_s, all_s: advance(int(done_s), int(all_s or 0)),
                )
    except KeyboardInterrupt:
        if checkpoint is not None:
            print_error("ugsd", f"interrupted: run the same command to continue from {checkpoint}")
        else:
            print_error("ugsd", "interrupted: with --checkpoint FILE it could be continued")
        raise
    _write(made, chosen, out)


def _chosen_format(form: _Format | None, out: Path | None) -> _Format:
    """Return the format; raises :class:`typer.BadParameter` if it is not clear."""
    if out is None:
        if form is _Format.PNG:
            raise typer.BadParameter("--format png: name a file with --out")
        return form or _Format.TEXT
    suffix = out.suffix.lower().removeprefix(".")
    if form is not None:
        return form
    if suffix == "txt":
        return _Format.TEXT
    if suffix not in list(_Format):
        raise typer.BadParameter(f"--out: add --format, since {out.name!r} does not say which")
    return _Format(suffix)


def _channels(text: str) -> str | Sequence[str]:
    names = [name.strip() for name in text.split(",")]
    return text if len(names) == 1 and text in ("apart", "together") else names


def _write(timeline: Timeline, form: _Format, out: Path | None) -> None:
    from ugsd_privacy.files.atomic_files import write_atomically

    if out is not None:
        data = (
            f"{_text(timeline)}\n".encode()
            if form is _Format.TEXT
            else timeline.contents_of(f".{form}")
        )
        write_atomically(out, data)
        print_line(f"{out}: {sum(len(one.utterances) for one in timeline.channels)} utterances")
    elif form is _Format.TEXT:
        print_line(*_text(timeline).splitlines())
    elif form is _Format.JSON:
        print_json(timeline.to_json())
    else:
        print_line(*timeline.contents_of(f".{form}").decode().splitlines())


def _text(timeline: Timeline) -> str:
    from ugsd_sdk.timelines.clock import clock

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
