"""The benchmark of drafting compares systems that draft the same captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from numpy.typing import NDArray
from ugsd_lab.bench.drafting import (
    EAGER,
    ONE_BY_ONE,
    PROPOSALS,
    TUNED,
    DraftingCost,
    bench_drafting,
    notes,
    tables,
)
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.eager_decoder import EagerDecoder
from ugsd_lab.training.starter import STARTER_DRAFTER


def measured() -> list[DraftingCost]:
    return bench_drafting(load_corpora(None)[:1], STARTER_DRAFTER, 1, lambda *_: None)


def test_systems_draft_the_same_in_fewer_steps() -> None:
    costs = measured()
    by_name = {(cost.length, cost.system): cost for cost in costs}
    systems = (EAGER, TUNED, ONE_BY_ONE, PROPOSALS)
    assert len(costs) == len(by_name) == 4 * len(systems)
    for length in ("short", "normal", "rich", "all"):
        eager = by_name[length, EAGER]
        for name in systems:
            cost = by_name[length, name]
            assert (cost.captions, cost.tokens) == (eager.captions, eager.tokens)
            assert 0 < cost.model_seconds < cost.seconds
        assert eager.steps == by_name[length, ONE_BY_ONE].steps == eager.tokens
        assert by_name[length, PROPOSALS].steps <= eager.tokens / 2
    (table,) = tables(costs)
    assert len(table.rows) == len(costs)
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert "goal: >= 8.5 x" in notes(costs)[0]


def test_different_captions_end_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    run = EagerDecoder.run

    def wrong(self: EagerDecoder, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        logits, present = run(self, feeds)
        return [-logits, present]

    monkeypatch.setattr(EagerDecoder, "run", wrong)
    with pytest.raises(EvaluationError, match="different captions"):
        measured()
