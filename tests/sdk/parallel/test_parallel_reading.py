"""Clips of every decoder, read by many threads at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_clip

from tests.doubles.busy_threads import all_at_once, switching_often
from tests.sdk.audio.clips import by_ffmpeg, encoded, tone

RATE = 44_100
SOUND = tone(RATE, 1.5)
CLIPS = {
    "wav": encoded(SOUND, RATE, "WAV"),
    "flac": encoded(SOUND, RATE, "FLAC"),
    "mp3": encoded(SOUND, RATE, "MP3"),
    "vorbis": encoded(SOUND, RATE, "OGG", "VORBIS"),
    "m4a": by_ffmpeg(SOUND, RATE, "mp4", "aac"),
    "webm": by_ffmpeg(tone(48_000, 1.5), 48_000, "webm", "libopus"),
}


def test_decoders_serve_many_threads() -> None:
    alone = {name: read_clip(clip) for name, clip in CLIPS.items()}

    def work(first: int) -> Callable[[], dict[str, NDArray[np.float32]]]:
        names = [*CLIPS][first % len(CLIPS) :] + [*CLIPS][: first % len(CLIPS)]
        return lambda: {name: read_clip(CLIPS[name]) for name in names * 3}

    with switching_often():
        for found in all_at_once(*map(work, range(8))):
            for name, samples in found.items():
                assert np.array_equal(samples, alone[name]), name
