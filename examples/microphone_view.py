"""Show in the terminal how somebody sounds while they speak.

    pip install "ugsd[microphone]"
    python examples/microphone_view.py
    python examples/microphone_view.py --file RECORDING    # plays a file instead

The lower lines change while somebody speaks: level, feeling and a draft. Each utterance then adds
a line for good, such as::

    00:00.0-00:02.2  The speaker comes across as elated, talking loudly in a high-pitched voice.

Nothing is sent. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from threading import Event, Thread

import numpy as np
import soundfile
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from ugsd_sdk import (
    AudioChunk,
    Caption,
    Captioner,
    DraftCaption,
    FinalCaption,
    Microphone,
    SpeechStarted,
    StreamGap,
    UgsdError,
)
from ugsd_sdk.errors import UnreadableAudio
from ugsd_sdk.streams.sources import LiveSource

CHUNK_S = 0.02
QUIETEST_DB = -60.0

Deliver = Callable[[AudioChunk], None]
End = Callable[[Exception | None], None]


class PlayedFile:
    """A file as a live source, as fast as it was recorded."""

    def __init__(self, path: str) -> None:
        self._path = path

    def start(self, deliver: Deliver, end: End) -> Callable[[], None]:
        stopped = Event()

        def play() -> None:
            try:
                with soundfile.SoundFile(self._path) as file:
                    for samples in file.blocks(round(CHUNK_S * file.samplerate), dtype="float32"):
                        deliver(AudioChunk(samples, file.samplerate))
                        if stopped.wait(len(samples) / file.samplerate):
                            break
            except soundfile.LibsndfileError as error:
                end(UnreadableAudio(str(error)))
            else:
                end(None)

        Thread(target=play, daemon=True).start()
        return stopped.set


class LevelMeter:
    """Passes on the sound of another live source, and knows how loud it is."""

    level_db = QUIETEST_DB

    def __init__(self, source: LiveSource) -> None:
        self._source = source

    def start(self, deliver: Deliver, end: End) -> Callable[[], None]:
        def measured(chunk: AudioChunk) -> None:
            rms = float(np.sqrt(np.mean(np.square(chunk.samples))))
            self.level_db = max(QUIETEST_DB, 20 * np.log10(rms + 1e-9))
            deliver(chunk)

        return self._source.start(measured, end)


class View:
    """The lines that change. rich asks for them ten times a second."""

    def __init__(self, meter: LevelMeter) -> None:
        self._meter = meter
        self.latest: Caption | None = None
        self.draft = ""

    def __rich__(self) -> Table:
        lines = Table.grid(padding=(0, 2))
        level_db = self._meter.level_db
        lines.add_row("level", bar(1 - level_db / QUIETEST_DB), f"{level_db:.0f} dB")
        if self.latest is not None:
            emotions = self.latest.attributes.emotion.distribution
            for emotion in sorted(emotions, key=emotions.__getitem__, reverse=True)[:3]:
                lines.add_row(emotion, bar(emotions[emotion]), f"{emotions[emotion]:.2f}")
        whole = Table.grid()
        whole.add_row(lines)
        whole.add_row(Text(self.draft, style="italic dim"))
        return whole


def bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, width=30)


def clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:04.1f}"


def show(captioner: Captioner, source: LiveSource, console: Console) -> None:
    """Draw the captions of ``source`` until it ends."""
    meter = LevelMeter(source)
    view = View(meter)
    with (
        Live(view, console=console, refresh_per_second=10, transient=True),
        captioner.stream(meter) as events,
    ):
        for event in events:
            match event:
                case SpeechStarted():
                    view.draft = "..."
                case DraftCaption(caption=caption):
                    view.latest, view.draft = caption, caption.text
                case FinalCaption(start_s, end_s, caption):
                    view.latest, view.draft = caption, ""
                    line = Text(f"{clock(start_s)}-{clock(end_s)}  {caption.text}")
                    console.print(line, soft_wrap=True)
                case StreamGap(at_s, duration_s):
                    console.print(f"{clock(at_s)}  {duration_s:.1f} s of sound were lost")


def main() -> None:
    arguments = argparse.ArgumentParser(description="Show how somebody sounds.")
    arguments.add_argument("--file", help="play this file instead of listening")
    path = arguments.parse_args().file
    try:
        with Captioner() as captioner:
            show(captioner, PlayedFile(path) if path else Microphone(), Console())
    except UgsdError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
