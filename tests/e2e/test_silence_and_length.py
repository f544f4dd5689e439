"""Silence around a voice and the length of a recording do not decide its caption."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.data.lexicon import attributes_named
from ugsd_sdk import Captioner

Voice = NDArray[np.float32]
CLIPS = [clip for clip in load_corpora(None) if clip.split == "test"][::4]
RATE = 16_000


def emotions(recordings: list[Voice]) -> list[str]:
    """Return the emotion of each caption, or "unclear" if it does not name exactly one."""
    found = []
    with Captioner(config=None) as captioner:
        for recording in recordings:
            named = attributes_named(captioner.caption(recording, RATE).text, "emotion")
            found.append(named.pop() if len(named) == 1 else "unclear")
    return found


@pytest.fixture(scope="module")
def plain() -> list[str]:
    return emotions([read_samples(clip) for clip in CLIPS])


def in_silence(clip: Clip, before_s: float, after_s: float, noise: float = 0.0) -> Voice:
    samples = read_samples(clip)
    recording = np.pad(samples, (round(RATE * before_s), round(RATE * after_s)))
    hiss = noise * np.random.default_rng(0).standard_normal(len(recording))
    return (recording + hiss).astype(np.float32)


@pytest.mark.parametrize(
    ("before_s", "after_s", "noise"),
    [(0.7, 0.7, 0), (0, 2, 0), (5, 5, 0), (0, 27, 0), (2, 2, 0.001)],
    ids=["short", "tail", "both sides", "to 30 s", "faint noise"],
)
def test_silence_around_a_voice_changes_few_captions(
    plain: list[str], before_s: float, after_s: float, noise: float
) -> None:
    padded = emotions([in_silence(clip, before_s, after_s, noise) for clip in CLIPS])

    same = np.mean([one == other for one, other in zip(plain, padded, strict=True)])
    assert same >= (0.9 if noise else 0.97)


@pytest.mark.parametrize(("seconds", "every"), [(6, 1), (12, 2), (29, 2)])
def test_repeated_clip_keeps_its_emotion(plain: list[str], seconds: int, every: int) -> None:
    clips, plain = CLIPS[::every], plain[::every]
    repeated = [
        np.tile(samples, math.ceil(RATE * seconds / len(samples)))[: RATE * seconds]
        for samples in map(read_samples, clips)
    ]

    right = [clip.emotion for clip in clips]
    accuracy = np.mean([a == b for a, b in zip(emotions(repeated), right, strict=True)])
    assert accuracy >= np.mean([a == b for a, b in zip(plain, right, strict=True)]) - 0.05
    assert "unclear" not in plain


def test_gain_changes_few_emotions(plain: list[str]) -> None:
    quiet = emotions([read_samples(clip) * np.float32(1e-4) for clip in CLIPS])

    assert quiet == plain
