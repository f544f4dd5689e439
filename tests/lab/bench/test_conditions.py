"""Conditions alter what they are named for and nothing else."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from ugsd_lab.bench.conditions import CONDITIONS, PLAIN, Condition, altered
from ugsd_lab.bench.gibberish import repeated_run
from ugsd_lab.data.captions import AttributeLabels, caption
from ugsd_lab.data.corpora import EMOTIONS, load_corpora, read_samples
from ugsd_lab.data.prosody import Level, Levels
from ugsd_lab.data.speech import speech_in

CLIP = next(clip for clip in load_corpora(None) if clip.split == "test")
SAMPLES = read_samples(CLIP)
BY_NAME = {condition.name: condition for condition in CONDITIONS}


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_recording_is_the_same_in_every_run(condition: Condition) -> None:
    first, again = (altered(CLIP, SAMPLES, condition) for _ in range(2))
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.array_equal(first, SAMPLES) is (condition is PLAIN)


@pytest.mark.parametrize("seconds", ["0.5", "3", "9", "27"])
def test_silence_and_room_lie_on_both_sides(seconds: str) -> None:
    margin = round(float(seconds) * 16_000)
    silent = altered(CLIP, SAMPLES, BY_NAME[f"{seconds} s of silence"])
    room = altered(CLIP, SAMPLES, BY_NAME[f"{seconds} s of room noise"])

    assert np.array_equal(silent[margin:-margin], SAMPLES)
    assert not silent[:margin].any()
    assert not silent[-margin:].any()
    assert np.sqrt(np.mean((room - silent) ** 2)) == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize("seconds", [6, 12, 29])
def test_repeated_clip_has_its_length(seconds: int) -> None:
    repeated = altered(CLIP, SAMPLES, BY_NAME[f"repeated to {seconds} s"])
    assert len(repeated) == seconds * 16_000
    assert np.array_equal(repeated[len(SAMPLES) : 2 * len(SAMPLES)], SAMPLES)


@pytest.mark.parametrize("snr_db", [20, 10])
def test_noise_lies_below_the_speech(snr_db: int) -> None:
    noise = altered(CLIP, SAMPLES, BY_NAME[f"noise at {snr_db} dB SNR"]) - SAMPLES
    ratio = np.mean(speech_in(SAMPLES) ** 2) / np.mean(noise**2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.1)


def test_no_reference_caption_counts_as_repetition() -> None:
    rng = random.Random(0)
    levels: tuple[Level, ...] = ("low", "mid", "high")
    for emotion, gender, _ in product(EMOTIONS, ("female", "male", None), range(40)):
        drawn = Levels(*(rng.choice(levels) for _ in range(6)))
        text = caption(AttributeLabels(gender, emotion, "strong", drawn), rng)
        assert repeated_run(text) is None, text


@pytest.mark.parametrize(
    ("text", "run"),
    [("low and low and flat", "low and"), ("a Slow, slow voice", "slow"), ("low and flat", None)],
)
def test_repeated_run_is_found(text: str, run: str | None) -> None:
    assert repeated_run(text) == run
