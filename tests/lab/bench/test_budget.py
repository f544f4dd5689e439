"""Simulated days: budget pacing beats a fixed threshold and first come, near the optimum."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ugsd_lab.bench.budget import SHARES, BudgetBench, bench_budget, notes, tables
from ugsd_lab.bench.budget_spending import (
    PacedDevice,
    first_come,
    fixed_threshold,
    offline_optimum,
    tuned,
)
from ugsd_lab.bench.simulated_days import ARRIVALS, simulated_day
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

STARTER_FOLDER = DrafterBundle.of(STARTER).folder
CLIPS = [clip for clip in load_corpora(None) if clip.split != "train"][::2]
LIMITS = BudgetLimits.without_caps(blocks_per_day=3)
DAYS = st.lists(
    st.tuples(
        st.floats(0, 86_399),
        st.builds(
            Question,
            st.floats(0.01, 1),
            st.builds(Usage, blocks=st.just(1), tokens=st.integers(1, 8)),
        ),
    ),
    min_size=1,
    max_size=12,
).map(lambda day: sorted(day, key=lambda one: one[0]))


SIMULATED = [one for one in ARRIVALS if one.name in {"morning", "bursts"}]


@cache
def measured() -> BudgetBench:
    return bench_budget(
        CLIPS, STARTER_FOLDER, lambda *_: None, seeds=2, measures=("tokens",), arrivals=SIMULATED
    )


def mean(name: str) -> float:
    return float(np.mean([getattr(row, name) for row in measured().rows]))


@pytest.mark.slow
def test_pacing_beats_threshold_and_first_come() -> None:
    assert mean("paced") > 0.92
    assert mean("paced") > mean("fixed_threshold") + 0.02
    assert mean("paced") > mean("first_come") + 0.1
    assert mean("paced_first_day") > mean("first_come")
    assert min(row.paced for row in measured().rows) > 0.75


def test_paced_budget_outlasts_first_come() -> None:
    for row in measured().rows:
        assert row.paced_gone_s >= row.first_come_gone_s
    assert mean("paced_gone_s") > mean("first_come_gone_s") + 5 * 3600


def test_no_way_of_spending_exceeds_the_optimum() -> None:
    for row in measured().rows:
        for value in (row.first_come, row.fixed_threshold, row.paced_first_day, row.paced):
            assert 0 < value <= 1 + 1e-9


@given(DAYS, st.sampled_from(["blocks", "tokens"]), st.integers(0, 30))
@example([(0.0, Question(0.999, Usage(blocks=1, tokens=3)))], "tokens", 3)
def test_tuned_threshold_gains_no_less_than_first_come(day, measure, allowed) -> None:
    limits = BudgetLimits.without_caps(**{f"{measure}_per_day": allowed})
    best = fixed_threshold(day, limits, tuned([day], limits)).worth
    assert first_come(day, limits).worth <= best + 1e-9


@given(DAYS, st.sampled_from(["blocks", "tokens"]), st.integers(0, 30))
def test_optimum_bounds_every_choice(day, measure, allowed) -> None:
    limits = BudgetLimits.without_caps(**{f"{measure}_per_day": allowed})
    best = offline_optimum(day, limits) + 1e-9
    assert first_come(day, limits).worth <= best
    assert fixed_threshold(day, limits, tuned([day], limits)).worth <= best
    assert PacedDevice(limits).spend(20_000, day).worth <= best


def test_optimum_takes_the_best_in_part() -> None:
    day = [(float(n), Question(worth, Usage(blocks=2))) for n, worth in enumerate((0.2, 0.8, 0.4))]
    assert offline_optimum(day, LIMITS) == pytest.approx(0.8 + 0.5 * 0.4)


def test_same_seed_gives_the_same_day() -> None:
    for arrival in ARRIVALS:
        first, second = (
            simulated_day(arrival, {"a": [0, 1], "b": [2]}, np.random.default_rng(5))
            for _ in range(2)
        )
        assert np.array_equal(first.times_s, second.times_s)
        assert np.array_equal(first.clips, second.clips)
        assert (np.diff(first.times_s) >= 0).all()
        assert 0 <= first.times_s[0] <= first.times_s[-1] < 86_400


def test_tables_have_every_measure_and_arrival() -> None:
    by_measure, by_arrival, gone = tables(measured())
    assert len(by_measure.rows) == len(SHARES)
    assert len(by_arrival.rows) == len(gone.rows) == len(SIMULATED) * len(SHARES)
    assert any(f"{measured().clips} clips of" in note for note in notes(measured()))
    json.dumps(measured().as_dict())


def test_clips_of_training_speakers_are_refused() -> None:
    with pytest.raises(EvaluationError, match="add some"):
        bench_budget([], STARTER_FOLDER, lambda *_: None)


def test_command_refuses_two_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "budget", "--json", "--markdown"]) != 0
    assert capsys.readouterr().err
