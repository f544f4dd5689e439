"""Nothing depends on where a long recording is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.corpora import load_corpora, read_samples
from ugsd_sdk import Captioner
from ugsd_sdk.audio.samples import PIECE_S
from ugsd_sdk.speech.reader import SpeechReader
from ugsd_sdk.speech.spans import SAMPLE_RATE
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from tests.doubles.streams import LoudDetector, silence, speech

Voice = NDArray[np.float32]
DETECTOR = VoiceActivityDetector()


@cache
def conversation() -> Voice:
    """Return 80 s or a little more of real clips with pauses between them."""
    parts, num_samples = [silence(0.6)], 0
    for clip in [clip for clip in load_corpora(None) if clip.split == "test"][::7]:
        parts += [read_samples(clip), silence(0.9)]
        num_samples += sum(map(len, parts[-2:]))
        if num_samples > 80 * SAMPLE_RATE:
            break
    return np.concatenate(parts)


def pieces(recording: Voice, piece_s: float = PIECE_S) -> Iterator[Voice]:
    size = round(piece_s * SAMPLE_RATE)
    return (recording[at : at + size] for at in range(0, len(recording), size))


def chords(seconds: int) -> Voice:
    times = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    tones = (220, 277, 330, 440)
    parts = [
        np.sin(2 * np.pi * hz * times) * (np.sin(2 * np.pi * times / 1.3 + number) > 0)
        for number, hz in enumerate(tones)
    ]
    return np.asarray(0.1 * np.sum(parts, axis=0), np.float32)


def test_chords_hold_no_speech() -> None:
    with Captioner() as captioner:
        caption = captioner.caption(chords(100), SAMPLE_RATE)

    assert caption.text == "No speech."
    assert caption.speech.spans == ()


def test_spans_are_those_of_the_timeline() -> None:
    with Captioner() as captioner:
        caption = captioner.caption(conversation(), SAMPLE_RATE)
        (channel,) = captioner.timeline(conversation(), SAMPLE_RATE).channels

    found = [(one.start_s, one.end_s) for one in channel.utterances]
    assert list(caption.speech.spans) == found
    assert len(found) > 15


@pytest.mark.parametrize("piece_s", [7.0, 19.3, PIECE_S])
def test_size_of_pieces_changes_nothing(piece_s: float) -> None:
    usual = SpeechReader(pieces(conversation(), 40.0), DETECTOR)
    other = SpeechReader(pieces(conversation(), piece_s), DETECTOR)

    one, two = (np.concatenate(list(reader)) for reader in (usual, other))

    assert np.array_equal(one, two)
    assert usual.speech == other.speech
    assert len(one) == round(usual.speech.duration_s * SAMPLE_RATE)


def test_utterance_across_borders_is_whole() -> None:
    recording = np.concatenate([silence(25), speech(9), silence(24), speech(6), silence(9)])
    reader = SpeechReader(pieces(recording), LoudDetector())

    found = list(reader)

    assert [round(end - start) for start, end in reader.speech.spans_s] == [9, 6]
    assert [round(len(one) / SAMPLE_RATE) for one in found] == [9, 6]


def test_meter_hears_each_span_once() -> None:
    class Meter:
        def __init__(self) -> None:
            self.spans: list[tuple[int, int]] = []
            self.longest = 0

        def add(self, piece: Voice, spans: list[tuple[int, int]], start: int = 0) -> None:
            assert np.array_equal(piece, recording[start : start + len(piece)])
            assert all(0 <= begin < end <= len(piece) for begin, end in spans)
            self.spans += [(start + begin, start + end) for begin, end in spans]
            self.longest = max(self.longest, len(piece))

    recording = np.tile(conversation(), 3)
    meter = Meter()
    reader = SpeechReader(pieces(recording), DETECTOR, meter)  # type: ignore[arg-type]

    list(reader)

    assert tuple(meter.spans) == reader.speech.spans
    assert meter.longest <= 70 * SAMPLE_RATE
