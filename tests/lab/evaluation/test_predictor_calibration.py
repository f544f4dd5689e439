"""The rejection predictor's probabilities against verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.predictor_calibration import (
    PredictorCalibration,
    calibration_error,
    error_by_chance,
)
from ugsd_lab.training.rejection_predictor import expected_calibration_error


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
    found = of(*drawn(8, 1000))
    assert found.error < 0.02
    assert found.low <= found.error <= found.high + 0.01
    assert found.asked == pytest.approx(0.25, abs=0.01)
    assert found.auroc > 0.8


def test_constant_overconfidence_is_the_error() -> None:
    found = of(*drawn(8, 1000, shift=0.3))
    assert found.error == pytest.approx(found.rejected - found.predicted, abs=0.02)
    assert found.low > 0.15


def test_few_questions_have_an_error_by_chance() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.2, 0.8, 100)
    errors = [
        calibration_error(["a"] * 100, chance, rng.random(100) < chance).value for _ in range(100)
    ]
    assert error_by_chance(chance) == pytest.approx(np.mean(errors), abs=0.01)
    assert error_by_chance(chance) > 4 * error_by_chance(np.tile(chance, 100))


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=60
    )
)
def test_error_agrees_with_that_of_the_training(rows: list[tuple[float, bool, str]]) -> None:
    chance = np.array([row[0] for row in rows])
    chance += np.arange(len(chance)) * 1e-9  # no ties, whose order is free
    happened = np.array([row[1] for row in rows])
    error = calibration_error([row[2] for row in rows], chance, happened)
    assert error.value == pytest.approx(expected_calibration_error(chance, happened))


def test_corpus_without_questions_has_no_numbers() -> None:
    found = of([], np.zeros(0), np.zeros(0, dtype=bool))
    assert found.questions == 0
    assert np.isnan([found.error, found.low, found.high, found.by_chance, found.auroc]).all()
