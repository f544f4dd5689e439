"""Probabilities of speech become spans, and spans the samples that are captioned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.speech.spans import WINDOW_SAMPLES, Speech, find_spans


def probabilities(*runs: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(count, value, np.float32) for value, count in runs])


def test_utterance_keeps_a_margin() -> None:
    speech = find_spans(probabilities((0, 20), (1, 30), (0, 20)), 70 * WINDOW_SAMPLES)

    assert speech.spans == ((17 * WINDOW_SAMPLES, 53 * WINDOW_SAMPLES),)


def test_short_pause_stays_inside_utterance() -> None:
    speech = find_spans(probabilities((1, 20), (0, 12), (1, 20)), 52 * WINDOW_SAMPLES)

    assert len(speech.spans) == 1


def test_long_pause_is_dropped() -> None:
    speech = find_spans(probabilities((1, 20), (0, 60), (1, 20)), 100 * WINDOW_SAMPLES)

    assert len(speech.spans) == 2
    assert speech.duration_s < 60 * 0.032


@pytest.mark.parametrize("run", [(1, 3), (0.75, 20)], ids=["click", "onset of a tone"])
def test_click_or_tone_is_no_speech(run: tuple[float, int]) -> None:
    speech = find_spans(probabilities((0, 20), run, (0, 20)), 60 * WINDOW_SAMPLES)

    assert speech.spans == ()
    assert not speech.is_enough


def test_speech_fades_without_being_cut() -> None:
    speech = find_spans(probabilities((1, 10), (0.4, 10), (0.3, 20)), 40 * WINDOW_SAMPLES)

    assert speech.spans == ((0, 23 * WINDOW_SAMPLES),)


def test_doubtful_sound_does_not_start_speech() -> None:
    assert find_spans(probabilities((0.45, 50)), 50 * WINDOW_SAMPLES).spans == ()


def test_recording_without_samples_has_no_share() -> None:
    speech = find_spans(np.zeros(0, np.float32), 0)

    assert speech.share == 0
    assert len(speech.samples(np.zeros(0, np.float32))) == 0


@given(st.lists(st.floats(0, 1, width=32), max_size=80), st.integers(1, WINDOW_SAMPLES))
def test_spans_are_ordered_and_inside(values: list[float], last: int) -> None:
    num_samples = max(len(values) - 1, 0) * WINDOW_SAMPLES + (last if values else 0)

    speech = find_spans(np.array(values, np.float32), num_samples)

    edges = [edge for span in speech.spans for edge in span]
    assert edges == sorted(set(edges))
    assert all(0 <= edge <= num_samples for edge in edges)
    assert 0 <= speech.share <= 1


def test_samples_of_spans_are_joined() -> None:
    recording = np.arange(10, dtype=np.float32)

    assert Speech(((1, 3), (6, 8)), 10).samples(recording).tolist() == [1, 2, 6, 7]


@pytest.mark.parametrize(("seconds", "enough"), [(0.1, False), (0.3, True)])
def test_little_speech_is_not_described(seconds: float, enough: bool) -> None:
    assert Speech(((0, round(seconds * 16_000)),), 160_000).is_enough is enough
