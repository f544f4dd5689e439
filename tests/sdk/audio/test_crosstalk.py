"""Voices that leak into another channel are silenced there, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.audio.crosstalk import without_crosstalk
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from tests.doubles.calls_on_tape import call_of, speaker_clips

Float32 = NDArray[np.float32]


def cleaned(sound: Float32, size: int = 160_000) -> Float32:
    pieces: Iterator[Float32] = (sound[at : at + size] for at in range(0, len(sound), size))
    return np.concatenate(list(without_crosstalk(pieces)))


def speech_s(sound: Float32) -> float:
    return VoiceActivityDetector().find(np.ascontiguousarray(sound)).duration_s


@pytest.mark.parametrize("leak_db", [-6, -10, -20, -30])
def test_a_leaking_voice_is_found_once(leak_db: float) -> None:
    alone, leaking = call_of(3), cleaned(call_of(3, leak_db=leak_db))
    for channel in (0, 1):
        expected = speech_s(alone[:, channel])
        assert speech_s(call_of(3, leak_db=-6)[:, channel]) > 1.5 * expected
        assert speech_s(leaking[:, channel]) == pytest.approx(expected, rel=0.1)


def test_the_voice_that_leaks_stays_as_it_is() -> None:
    voices, leaking = call_of(3, noise=0), call_of(3, leak_db=-15)
    clean = cleaned(leaking)
    for channel in (0, 1):
        speaks = np.abs(voices[:, channel]) > 1e-3
        assert np.array_equal(clean[speaks, channel], leaking[speaks, channel])


@pytest.mark.parametrize(("gain_db", "most"), [(0, 0.05), (-6, 0.15)])
def test_two_people_at_once_are_both_kept(gain_db: float, most: float) -> None:
    both = [np.concatenate(speaker_clips(one)) for one in ("15", "16")]
    count = min(map(len, both))
    sound = np.stack([both[0][:count], 10 ** (gain_db / 20) * both[1][:count]], 1)
    for channel in (0, 1):
        speaks = np.abs(sound[:, channel]) > 1e-3
        silenced = cleaned(sound.astype(np.float32))[speaks, channel] == 0
        assert silenced.mean() < most


@pytest.mark.parametrize("size", [333, 16_000, 1_000_000])
def test_the_sizes_of_pieces_make_little_difference(size: int) -> None:
    leaking = call_of(2, leak_db=-15)
    whole, pieces = cleaned(leaking, len(leaking)), cleaned(leaking, size)
    assert pieces.shape == leaking.shape
    assert np.mean((whole == 0) != (pieces == 0)) < 1e-3


def test_one_channel_passes_unchanged() -> None:
    sound = call_of(1)[:, :1]
    assert np.array_equal(cleaned(sound), sound)
