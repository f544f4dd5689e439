from __future__ import annotations

import numpy as np
import pytest
from ugsd_lab.gate import (
    ESCALATED_AT_HOME,
    _logistic,
    _threshold,
    expected_calibration_error,
)


def test_the_logistic_fit_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    happened = rng.random(20_000) < 1 / (1 + np.exp(-(2 * x[:, 0] - x[:, 1] + 0.5)))
    weights, bias = _logistic(x, happened)
    assert weights == pytest.approx([2, -1], abs=0.1)
    assert bias == pytest.approx(0.5, abs=0.1)


def test_calibration_error_tells_honest_from_boastful() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    happened = rng.random(50_000) < chance
    assert expected_calibration_error(chance, happened) < 0.01
    assert expected_calibration_error(chance**3, happened) > 0.1


def test_the_threshold_escalates_the_least_sure_blocks() -> None:
    rng = np.random.default_rng(0)
    chance = [rng.random(13) for _ in range(2000)]
    threshold = _threshold(chance)
    blocks = np.array([c[i : i + 5].max() for c in chance for i in (0, 5, 10)])
    assert (blocks >= threshold).mean() == pytest.approx(ESCALATED_AT_HOME, abs=0.001)
