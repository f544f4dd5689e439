"""Calibration of the emotion, and valence and arousal against labels."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_lab.evaluation.emotion_calibration import (
    AROUSAL_SIGN,
    VALENCE_SIGN,
    emotion_calibration,
    sign_correlation,
)


def test_calibrated_confidence_has_a_small_error() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.5, 1, 20_000)
    labels = np.where(rng.random(20_000) < chance, "sad", "angry")
    told = [{"sad": float(p), "angry": float(1 - p)} for p in chance]
    result = emotion_calibration(told, list(labels))
    assert result.error < 0.02
    assert result.accuracy == pytest.approx(result.confidence, abs=0.01)
    bold = [{"sad": 1.0, "angry": 0.0}] * 20_000
    assert emotion_calibration(bold, list(labels)).error == pytest.approx(0.25, abs=0.01)


def test_captions_without_an_emotion_do_not_count() -> None:
    result = emotion_calibration([{}, {"sad": 0.8, "happy": 0.2}], ["sad", "sad"])
    assert (result.captions, result.accuracy) == (1, 1.0)
    assert result.error == pytest.approx(0.2)
    assert np.isnan(emotion_calibration([{}], ["sad"]).error)


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(1)
    labels = list(rng.choice(list(VALENCE_SIGN), 200))
    values = [VALENCE_SIGN[label] + rng.normal() for label in labels]
    speakers = [str(i % 5) for i in range(200)]
    found = sign_correlation(speakers, values, labels, VALENCE_SIGN)
    expected = np.corrcoef(values, [VALENCE_SIGN[label] for label in labels])[0, 1]
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert found.captions == 200


def test_unsigned_labels_and_unknown_values_are_skipped() -> None:
    found = sign_correlation(
        ["a"] * 4, [1.0, -1.0, 0.3, None], ["angry", "sad", "disgusted", "sad"], AROUSAL_SIGN
    )
    assert found.captions == 2
    assert found.value == pytest.approx(1.0)
    assert np.isnan(sign_correlation(["a"], [None], ["sad"], AROUSAL_SIGN).value)
    assert np.isnan(sign_correlation(["a"] * 2, [0.5, 0.5], ["sad"] * 2, AROUSAL_SIGN).value)
    constant = sign_correlation(["a", "b", "c"], [0.1] * 3, ["sad", "angry", "sad"], AROUSAL_SIGN)
    assert np.isnan(constant.value)
