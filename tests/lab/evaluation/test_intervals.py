"""Confidence intervals over speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.intervals import (
    bleu_measure,
    draws,
    gap_closed,
    interval,
    share_measure,
)
from ugsd_lab.evaluation.metrics import bleu


def over_speakers(speakers: Sequence[str], values: Sequence[float]) -> tuple[float, float]:
    """Return the interval that a table prints for a share."""
    return interval(share_measure(speakers, values).redrawn(draws(len(set(speakers)))))


def test_interval_over_speakers_is_wider_than_over_clips() -> None:
    speakers = [name for name in "abcdefgh" for _ in range(50)]
    by_speaker = [float(name in "abcd") for name in speakers]
    mixed = [float(i % 2) for i in range(len(speakers))]
    low, high = over_speakers(speakers, by_speaker)
    assert low < 0.3 < 0.7 < high
    assert over_speakers(speakers, mixed) == (0.5, 0.5)


def test_two_speakers_give_the_range_between_them() -> None:
    assert over_speakers(["a", "a", "b"], [1, 0, 1]) == (0.5, 1)
    assert over_speakers(["a", "a"], [1, 0]) == (0.5, 0.5)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-9, 9)), min_size=1, max_size=20))
def test_interval_is_within_the_speakers_means(pairs: list[tuple[str, float]]) -> None:
    speakers, values = zip(*pairs, strict=True)
    own = [np.mean([v for s, v in pairs if s == name]) for name in set(speakers)]
    low, high = over_speakers(speakers, values)
    assert min(own) - 1e-9 <= low <= high <= max(own) + 1e-9


def test_every_draw_has_as_many_speakers_as_given() -> None:
    weights = draws(3, count=500)
    assert weights.shape == (500, 3)
    assert set(weights.sum(axis=1)) == {3}
    assert (weights == draws(3, count=500)).all()
    assert abs(weights.mean() - 1) < 0.1


def test_unknown_labels_do_not_count() -> None:
    measure = share_measure(["a", "a", "b"], [1.0, float("nan"), 0.0])
    assert measure.value == 0.5
    assert over_speakers(["a", "b"], [float("nan")] * 2) == pytest.approx(
        (np.nan, np.nan), nan_ok=True
    )


def test_bleu_over_all_speakers_is_the_corpus_score() -> None:
    captions = ["a man speaks low", "she sounds very sad today", "a man speaks up"]
    texts = [["a man speaks up"], ["she sounds sad"], ["the man speaks up"]]
    measure = bleu_measure(["x", "y", "x"], captions, texts)
    assert measure.value == pytest.approx(bleu(captions, texts))
    only_x = measure.redrawn(np.array([[2, 0], [1, 1]]))
    assert only_x[0] == pytest.approx(bleu(captions[::2] * 2, texts[::2] * 2))
    assert only_x[1] == pytest.approx(measure.value)


def shares(*values: float) -> list[float]:
    """One value per speaker."""
    return list(values)


def test_gap_uses_the_same_draws_of_speakers() -> None:
    speakers = ["a", "b", "c"]
    alone = share_measure(speakers, shares(0.1, 0.4, 0.7))
    verifier = share_measure(speakers, shares(0.3, 0.6, 0.9))
    half = share_measure(speakers, shares(0.2, 0.5, 0.8))
    gap = gap_closed(half, alone, verifier, draws(3))
    # Speakers differ by .6, but the half that is closed is the same for all of them.
    assert (gap.closed, gap.low, gap.high) == pytest.approx((0.5, 0.5, 0.5))
    assert gap.gap == pytest.approx(0.2)
    assert not gap.includes_zero


def test_gap_that_includes_zero_has_no_ratio() -> None:
    speakers = ["a", "b"]
    alone = share_measure(speakers, shares(0.5, 0.5))
    verifier = share_measure(speakers, shares(0.4, 0.9))
    gap = gap_closed(verifier, alone, verifier, draws(2))
    assert gap.includes_zero
    assert np.isnan([gap.closed, gap.low, gap.high]).all()
    assert gap_closed(alone, alone, alone, draws(2)).includes_zero


def test_gap_of_a_worse_verifier_is_not_closed() -> None:
    alone = share_measure(["a", "b"], shares(0.5, 0.6))
    verifier = share_measure(["a", "b"], shares(0.4, 0.5))
    gap = gap_closed(verifier, alone, verifier, draws(2))
    assert gap.is_loss
    assert not gap.includes_zero
    assert np.isnan([gap.closed, gap.low, gap.high]).all()
