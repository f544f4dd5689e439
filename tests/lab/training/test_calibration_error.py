"""The expected calibration error, on known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.training.calibration_error import error_by_chance, expected_calibration_error


def test_calibration_error_is_larger_for_overconfident_predictions() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    happened = rng.random(50_000) < chance
    assert expected_calibration_error(chance, happened) < 0.01
    assert expected_calibration_error(chance**3, happened) > 0.1
    sure = np.full(400, 0.9)
    assert expected_calibration_error(sure, np.zeros(400, dtype=bool)) == pytest.approx(0.9)
    assert expected_calibration_error(sure[:3], np.ones(3, dtype=bool)) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_error_is_the_mean_gap_of_bins(rows: list[tuple[float, bool]]) -> None:
    chance = np.array([row[0] for row in rows])
    chance += np.arange(len(chance)) * 1e-9  # no ties, whose order is free
    happened = np.array([row[1] for row in rows])
    bins = [own for own in np.array_split(np.argsort(chance), 10) if len(own)]
    gaps = [len(own) * abs(chance[own].mean() - happened[own].mean()) for own in bins]
    found = expected_calibration_error(chance, happened)
    assert found == pytest.approx(sum(gaps) / len(rows))


def test_few_events_have_an_error_by_chance() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.2, 0.8, 100)
    # The mean of |X - 10 p| / 10 for X of B(10, p), p about .5, is .8 * sqrt(.25 / 10).
    assert error_by_chance(chance) == pytest.approx(0.12, abs=0.02)
    assert error_by_chance(chance) > 4 * error_by_chance(np.tile(chance, 100))
