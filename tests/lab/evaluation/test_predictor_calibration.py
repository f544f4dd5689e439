"""The rejection predictor's probabilities against verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_lab.evaluation.predictor_calibration import PredictorCalibration
from ugsd_lab.training.calibration_error import expected_calibration_error


def drawn(
    num_speakers: int, each: int, shift: float = 0.0
) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = num_speakers * each
    chance = rng.random(n)
    happened = rng.random(n) < np.clip(chance + shift, 0, 1)
    return [f"s{i % num_speakers}" for i in range(n)], chance, happened


def of(speakers: list[str], chance: np.ndarray, happened: np.ndarray) -> PredictorCalibration:
    return PredictorCalibration.of(
        "emodb", "in-domain", speakers=speakers, chance=chance.tolist(),
        rejected=happened.tolist(), threshold=0.75,
    )  # fmt: skip


def test_true_probabilities_have_little_error() -> None:
    speakers, chance, happened = drawn(8, 1000)
    found = of(speakers, chance, happened)
    assert found.error == pytest.approx(expected_calibration_error(chance, happened))
    assert found.error < 0.02
    assert found.low <= found.error <= found.high + 0.01
    assert found.asked == pytest.approx(0.25, abs=0.01)
    assert found.auroc > 0.8


def test_constant_overconfidence_is_the_error() -> None:
    found = of(*drawn(8, 1000, shift=0.3))
    assert found.error == pytest.approx(found.rejected - found.predicted, abs=0.02)
    assert found.low > 0.15


def test_corpus_without_questions_has_no_numbers() -> None:
    found = of([], np.zeros(0), np.zeros(0, dtype=bool))
    assert found.questions == 0
    assert np.isnan([found.error, found.low, found.high, found.by_chance, found.auroc]).all()
