"""The baselines, and the rates at which they match UGSD's disclosure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.data.lexicon import attributes_named
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.baselines import (
    BlockPolicy,
    Probability,
    entropy_threshold,
    majority_caption,
    sample,
)
from ugsd_lab.evaluation.matching import RATES, DisclosureMatch, RandomPolicy
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate


def view(start: int) -> BlockView:
    return BlockView(start=start, tokens=(1,), uncertainties=(0.5,), verifier_has_summary=False)


def test_block_policy_escalates_the_chosen_blocks_in_turn() -> None:
    policy = BlockPolicy([0, 2, None])
    starts = [0, 5, 10, 0, 5, 10, 0, 5, 0, 5]
    escalated = [isinstance(policy(view(start), BudgetView()), Escalate) for start in starts]
    assert [i for i, yes in enumerate(escalated) if yes] == [0, 5]


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (1.0, 1000), (0.3, 300)])
def test_random_policy_escalates_its_share_reproducibly(rate: float, expected: int) -> None:
    runs = []
    for _ in range(2):
        policy = RandomPolicy(rate, seed=1)
        runs.append([isinstance(policy(view(0), BudgetView()), Escalate) for _ in range(1000)])
    assert runs[0] == runs[1]
    assert abs(sum(runs[0]) - expected) < 50


def test_probability_uses_a_fixed_threshold() -> None:
    p = np.array([0.5, 0.25, 0.24, 0.01])
    assert [Probability().accepts(p, token) for token in range(4)] == [True, True, False, False]
    assert Probability(least=0.01).accepts(p, 3)


def test_probability_accepts_most_likely_below_threshold() -> None:
    p = np.array([0.22, 0.2, 0.2, 0.2, 0.18])
    assert [Probability().accepts(p, token) for token in range(5)] == [True] + [False] * 4


def match(target: float, *by_rate: float) -> DisclosureMatch:
    return DisclosureMatch(target, np.array(by_rate), {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8})


def test_random_rate_is_interpolated_at_ugsds_disclosure() -> None:
    assert RATES == (0.1, 0.2, 0.4, 0.7, 1.0)
    assert match(0.3, 0.1, 0.2, 0.4, 0.5, 0.6).random_rate() == pytest.approx(0.3, abs=2e-3)
    assert match(0.0, 0.1, 0.2, 0.4, 0.5, 0.6).random_rate() == 0


def test_lower_of_two_equal_random_rates_is_used() -> None:
    assert match(0.3, 0.2, 0.4, 0.4, 0.4, 0.2).random_rate() == pytest.approx(0.15, abs=2e-3)


def test_unreachable_disclosure_takes_the_nearest_random_rate() -> None:
    assert match(0.9, 0.1, 0.2, 0.5, 0.4, 0.3).random_rate() == pytest.approx(0.4, abs=2e-3)


def test_fixed_block_rate_is_proportional() -> None:
    some = match(0.3, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert [some.fixed_rate(b) for b in range(4)] == pytest.approx([1, 0.75, 0.5, 0.375])
    mean = DisclosureMatch.mean([some, replace(some, target=0.1)])
    assert mean.target == pytest.approx(0.2)
    assert dict(mean.by_block) == pytest.approx(dict(some.by_block))


def test_entropy_threshold_is_read_from_the_drafter(tmp_path: Path) -> None:
    gate = tmp_path / "gate.json"
    gate.write_text('{"entropy_threshold": 0.25}')
    assert entropy_threshold(tmp_path) == 0.25
    gate.write_text("{}")
    assert entropy_threshold(tmp_path) is None
    for wrong in ('"high"', "true", "2", "NaN", "[]"):
        gate.write_text(f'{{"entropy_threshold": {wrong}}}')
        with pytest.raises(EvaluationError, match="fit the rejection predictor again"):
            entropy_threshold(tmp_path)


def test_sample_is_repeatable_and_keeps_the_order() -> None:
    clips = load_corpora(None)
    assert sample(clips, 10) == sample(clips, 10)
    assert sample(clips[:5], 10) == clips[:5]
    assert [clips.index(clip) for clip in sample(clips, 10)] == sorted(
        clips.index(clip) for clip in sample(clips, 10)
    )


def test_majority_caption_names_the_most_frequent_attributes() -> None:
    train = [clip for clip in load_corpora(None) if clip.split == "train"]
    text = majority_caption(train, {})
    emotions = [clip.emotion for clip in train]
    assert attributes_named(text, "emotion") == {max(set(emotions), key=emotions.count)}
    assert attributes_named(text, "pitch") <= {"medium"}
    assert text == majority_caption(train, {})
