"""``ugsd listen``: caption each utterance of a microphone, a pipe or a file as it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error, print_file, print_json

from ugsd_sdk.cli.caption import await_verifier
from ugsd_sdk.cli.clip_inputs import STDIN, standard_input
from ugsd_sdk.cli.formats import OutputFormat
from ugsd_sdk.cli.interruption import ended_by_sigterm
from ugsd_sdk.cli.options import (
    ConfigOption,
    DrafterOption,
    HomeOption,
    LengthOption,
    OfflineOption,
    UserOption,
    VerifierKeyOption,
    VerifierManifestOption,
    VerifierOption,
    VerifierRootOption,
    note_unused_key,
    settings_from,
)

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption
    from ugsd_sdk.exports import TimedCaption
    from ugsd_sdk.streams.sources import StreamSource

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd listen
  ugsd listen --user ada --json > today.jsonl
  ugsd listen recording.opus --format vtt > recording.vtt
  arecord -q -f S16_LE -r 16000 -t raw | ugsd listen --raw 16000 -

Ctrl-C ends it. The microphone needs the extra: pip install 'ugsd[microphone]'.

Exit codes: 0 the sound ended, 1 it failed, 2 wrong usage or settings, 130 interrupted,
143 terminated.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("listen", epilog=_EPILOG)(listen)


def listen(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A file, or - for stdin.  [default: microphone]"),
    ] = None,
    *,
    raw: Annotated[
        int | None,
        typer.Option(
            metavar="RATE",
            min=1,
            max=1_000_000,
            help="The pipe has mono 16-bit samples (little-endian) of this rate in Hz.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME|N", help="The microphone, as `python -m sounddevice` lists it."),
    ] = None,
    kind: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            show_choices=True,
            show_default=False,
            help="How captions are written.  [default: text]",
        ),
    ] = OutputFormat.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format jsonl.")] = False,
    length: LengthOption = None,
    offline: OfflineOption = False,
    verifier: VerifierOption = None,
    verifier_root: VerifierRootOption = None,
    verifier_manifest: VerifierManifestOption = None,
    verifier_key: VerifierKeyOption = None,
    drafter: DrafterOption = "starter",
    user: UserOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The speaker's profile; made or updated."),
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
) -> None:
    """Caption each utterance of a microphone, a pipe or a file.

    On a terminal, a draft shows how the voice sounds while someone still speaks; the caption then
    replaces it. Times are those since the start.
    """
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption_run import profile_at
    from ugsd_sdk.exports import TimedCaption
    from ugsd_sdk.streams.events import DraftCaption, FinalCaption, StreamGap

    if as_json and kind not in {OutputFormat.TEXT, OutputFormat.JSONL}:
        raise typer.BadParameter(f"--json is --format jsonl: leave it out, or --format {kind}")
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
    sound = _source(source, raw, device)
    with (
        ended_by_sigterm(),
        profile_at(profile) as speaker,
        Captioner(drafter, config=settings) as captioner,
        _lines(OutputFormat.JSONL if as_json else kind) as lines,
    ):
        await_verifier(captioner, settings)
        events = captioner.stream(
            sound, raw, profile=speaker, length=length, drafts=lines.shows_drafts
        )
        with closing(events):
            for event in events:
                match event:
                    case DraftCaption(start_s=start_s, caption=caption):
                        lines.draft(start_s, caption)
                    case FinalCaption(start_s=start_s, end_s=end_s, caption=caption):
                        lines.final(
                            TimedCaption(start_s, end_s, caption.text, None, source, caption)
                        )
                    case StreamGap(at_s=at_s, duration_s=missing_s):
                        print_error("ugsd", f"{missing_s:.1f} s of sound are missing at {at_s:.1f}")


def _source(source: str | None, raw: int | None, device: str | None) -> StreamSource:
    """Return the source of the stream. Raises :class:`typer.BadParameter`."""
    from ugsd_sdk.streams.microphone import Microphone

    if source is None:
        if raw is not None:
            raise typer.BadParameter("--raw needs standard input: add -")
        return Microphone(int(device) if device is not None and device.isdecimal() else device)
    if device is not None:
        raise typer.BadParameter("--device names a microphone: leave out the file or --device")
    if source != STDIN:
        return source
    if raw is None:
        raise typer.BadParameter(
            "standard input (-) needs --raw RATE here; to caption an encoded clip, run "
            "`ugsd caption -`"
        )
    pipe = standard_input()
    # Unbuffered: a thread in a buffered read would hold its lock while the process exits.
    return getattr(pipe, "raw", pipe)


class _Lines(ABC):
    """Prints what a stream reports."""

    shows_drafts = False

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  # may do nothing
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what is not to stay on the screen."""

    def draft(self, start_s: float, caption: Caption) -> None:  # noqa: B027  # may do nothing
        """Show a draft until the next one or the caption."""

    @abstractmethod
    def final(self, caption: TimedCaption) -> None:
        """Print the caption of an utterance."""


class _TextLines(_Lines):
    """One line for each utterance, and on a terminal one below them for what is being said."""

    def __init__(self) -> None:
        from rich.live import Live

        from ugsd_sdk.cli.caption_output import stdout

        self._console = stdout()
        self.shows_drafts = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(
            console=self._console, transient=True, auto_refresh=False, redirect_stdout=False
        )
        self._is_first = True

    def __enter__(self) -> Self:
        if self.shows_drafts:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.shows_drafts:
            self._live.stop()

    def draft(self, start_s: float, caption: Caption) -> None:
        from rich.text import Text

        from ugsd_sdk.exports.clock import clock

        line = plain_line(f"{clock(start_s, hour_digits=2)}  {caption.text}")
        shown = Text(line, style="dim", no_wrap=True, overflow="ellipsis")
        self._live.update(shown, refresh=True)

    def final(self, caption: TimedCaption) -> None:
        from rich.text import Text

        from ugsd_sdk.cli.caption_output import caption_text, legend
        from ugsd_sdk.exports.clock import clock

        assert caption.caption is not None  # noqa: S101  # each utterance has one
        if self.shows_drafts:
            self._live.update(Text(), refresh=True)
        is_terminal = self._console.is_terminal
        if self._is_first and caption.caption.usage.num_blocks:
            self._is_first = False
            self._console.print(legend(colour=is_terminal))
        line = Text(f"{clock(caption.start_s, hour_digits=2)}  ", style="dim")
        self._console.print(line + caption_text(caption.caption, colour=is_terminal))


class _FileLines(_Lines):
    """A file on standard output, each caption as soon as it is there."""

    def __init__(self, kind: OutputFormat) -> None:
        from ugsd_sdk.exports import caption_formatter

        self._is_json = kind is OutputFormat.JSONL
        self._formatter = caption_formatter(kind.value)

    def __enter__(self) -> Self:
        if header := self._formatter.header():
            print_file(header)
        return self

    def final(self, caption: TimedCaption) -> None:
        if self._is_json:
            print_json(caption.to_json())
        else:
            print_file(self._formatter.cue(caption))


def _lines(kind: OutputFormat) -> _Lines:
    return _TextLines() if kind is OutputFormat.TEXT else _FileLines(kind)
