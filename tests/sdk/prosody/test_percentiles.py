"""Percentiles agree with NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.prosody.percentiles import median, percentile

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(VALUES, st.floats(0, 100))
def test_percentile_agrees_with_numpy(values: list[float], percent: float) -> None:
    expected = np.percentile(values, percent)
    assert percentile(np.array(values), percent) == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert median(np.array(values)) == pytest.approx(np.median(values), rel=1e-12, abs=1e-9)
