"""Uncertainty scores for any logits, and the file of the rejection predictor."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from ugsd_sdk.decoding.uncertainty import (
    FEATURES,
    EntropyUncertainty,
    RejectionPredictor,
    spread_of,
)
from ugsd_sdk.errors import ModelError

PREDICTOR = {
    "format": 2,
    "features": ["entropy", "1-top1", "margin", "log-odds", "log1p(ood_score)"],
    "weights": [0.5, 2.0, -1.0, 0.75, 0.25],
    "bias": -1.5,
    "threshold": 0.3,
}
logits = hnp.arrays(
    np.float32, st.integers(1, 50), elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


def test_spread_equals_figures_computed_by_hand() -> None:
    even = spread_of(np.zeros(8, np.float32))
    assert even.entropy == pytest.approx(math.log(8))
    assert even.top1 == pytest.approx(1 / 8)
    assert even.margin == pytest.approx(0)
    p = np.array([0.5, 0.25, 0.25])
    spread = spread_of(np.log(p))
    assert spread.entropy == pytest.approx(1.5 * math.log(2))
    assert (spread.top1, spread.margin) == (pytest.approx(0.5), pytest.approx(0.25))


@given(logits)
def test_scores_are_in_range_for_finite_logits(values: NDArray[np.float32]) -> None:
    spread = spread_of(values)
    assert 0 <= spread.entropy <= math.log(len(values)) + 1e-9
    assert 0 < spread.top1 <= 1
    assert 0 <= spread.margin <= spread.top1
    assert 0 <= EntropyUncertainty()(values, 1.0) <= 1


@given(logits, st.floats(-50, 50))
def test_adding_constant_to_logits_changes_nothing(
    values: NDArray[np.float32], constant: float
) -> None:
    values = np.clip(values, -100, 100).astype(np.float64)
    assert spread_of(values).entropy == pytest.approx(
        spread_of(values + constant).entropy, abs=1e-6
    )


def test_impossible_token_has_no_weight() -> None:
    assert spread_of(np.array([0.0, 0.0, -np.inf])).entropy == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "values",
    [[np.nan, 0], [np.inf, 0], [-np.inf, -np.inf], [], [[0.0, 1.0]]],
    ids=["nan", "infinite", "nothing possible", "empty", "two axes"],
)
def test_invalid_logits_raise_model_error(values: list[float]) -> None:
    with pytest.raises(ModelError):
        spread_of(np.array(values))


def test_entropy_can_be_in_nats() -> None:
    assert EntropyUncertainty("nats")(np.zeros(8, np.float32), 0) == pytest.approx(math.log(8))


def test_rejection_predictor_is_logistic_in_its_features(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text(json.dumps(PREDICTOR))
    predictor = RejectionPredictor.load(tmp_path / "gate.json")
    values, ood_score = np.array([2.0, 1.0, 0.0]), 3.0
    p = np.exp(values) / np.exp(values).sum()
    odds = (1 - p[0] + 1e-6) / p[0]
    features = [-(p * np.log(p)).sum(), 1 - p[0], p[0] - p[1], math.log(odds), math.log(4)]
    z = np.dot(features, PREDICTOR["weights"]) + PREDICTOR["bias"]  # type: ignore[arg-type]
    assert predictor(values, ood_score) == pytest.approx(1 / (1 + math.exp(-z)))
    assert predictor.threshold == 0.3


@given(logits, st.floats(0, 1e300))
def test_rejection_predictor_returns_probability_for_extreme_input(
    values: NDArray[np.float32], ood_score: float
) -> None:
    predictor = RejectionPredictor(
        tuple(FEATURES), tuple(1e3 * (-1) ** i for i in range(len(FEATURES))), 0.0, 0.5
    )
    assert 0 <= predictor(values, ood_score) <= 1


@pytest.mark.parametrize("ood_score", [np.nan, -1.0, np.inf])
def test_invalid_ood_score_raises_model_error(ood_score: float) -> None:
    with pytest.raises(ModelError):
        RejectionPredictor(("entropy",), (1.0,), 0.0, 0.5)(np.zeros(3), ood_score)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"features": ["log1p(novelty)"], "weights": [1]},
        {"features": ["entropy", "pitch"], "weights": [1, 1]},
        {"weights": [1.0]},
        {"bias": "x"},
        {"bias": float("nan")},
        {"threshold": -0.1},
        {"features": []},
    ],
)
def test_malformed_rejection_predictor_raises_model_error(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / "gate.json").write_text(json.dumps(PREDICTOR | change))
    with pytest.raises(ModelError):
        RejectionPredictor.load(tmp_path / "gate.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_non_json_rejection_predictor_raises_model_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gate.json").write_bytes(content)
    with pytest.raises(ModelError):
        RejectionPredictor.load(tmp_path / "gate.json")


def test_missing_rejection_predictor_raises_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        RejectionPredictor.load(tmp_path / "gate.json")
