"""The estimate of the round trip follows RFC 6298 §2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.concurrency.smoothed_time import SmoothedTime

SAMPLES = st.lists(st.floats(0, 100), min_size=1, max_size=50)


def estimate(samples: list[float]) -> SmoothedTime:
    found = SmoothedTime.first(samples[0])
    for sample in samples[1:]:
        found = found.after(sample)
    return found


def test_first_and_second_sample_as_in_the_rfc() -> None:
    first = SmoothedTime.first(0.1)
    assert (first.expected_s, first.deviation_s) == (0.1, 0.05)
    assert first.late_s == pytest.approx(0.3)
    second = first.after(0.3)
    assert second.expected_s == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.3)
    assert second.deviation_s == pytest.approx(3 / 4 * 0.05 + 1 / 4 * 0.2)


@given(SAMPLES)
def test_estimate_stays_within_the_samples(samples: list[float]) -> None:
    found = estimate(samples)
    assert min(samples) - 1e-9 <= found.expected_s <= max(samples) + 1e-9
    assert found.late_s >= found.expected_s >= 0


def test_steady_round_trips_leave_no_deviation() -> None:
    found = estimate([0.05] * 60)
    assert found.expected_s == pytest.approx(0.05)
    assert found.late_s < 0.051


def test_one_jump_makes_the_estimate_careful() -> None:
    found = estimate([*[0.05] * 60, 0.8])
    assert found.expected_s < 0.2
    assert found.late_s > 0.8
