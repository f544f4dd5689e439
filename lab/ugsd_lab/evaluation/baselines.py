"""The baselines that UGSD is compared with, each made as strong as possible.

All of them send blocks of tokens, as in the paper, and their verifier goes on to the end of the
clause unless stated otherwise. Candidates are compared on the dev speakers by ``ugsd-lab evaluate
--tune``, by emotion accuracy and then BLEU; the constants below are the best ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.settings.verification import BlockUnit
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, Greedy, Rank

from ugsd_lab.data.captions import references
from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Levels
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.systems import System

__all__ = [
    "BLOCKS",
    "FIXED_BLOCK",
    "MAJORITY_SAMPLE",
    "RECIPE",
    "RECIPES",
    "BlockPolicy",
    "Probability",
    "entropy_system",
    "entropy_threshold",
    "first_token",
    "fixed_block",
    "majority_caption",
    "paper_recipe",
    "sample",
]


@dataclass(frozen=True)
class Probability:
    """Accepts a token whose probability is at least ``least``, and always the most likely token.

    With 0.25 it is the baseline of an earlier version of the authors' public experiments.
    """

    least: float = 0.25
    """In [0, 1]."""

    def accepts(self, p: NDArray[np.float64], token: int) -> bool:
        return bool(p[token] >= min(self.least, float(p.max())))


RECIPES: Mapping[str, tuple[Acceptance, float]] = MappingProxyType(
    {
        f"{name}, tau {tau}": (rule, tau)
        for name, rule in (("rank 20", Rank(20)), ("p .25", Probability()), ("greedy", Greedy()))
        for tau in (1.0, 3.5)
    }
)
"""Settings of the paper's recipe in the authors' runs: an acceptance rule, and tau in nats."""

RECIPE = "p .25, tau 1.0"
"""The best of :data:`RECIPES` on the dev speakers."""

BLOCKS = (0, 1)
FIXED_BLOCK = 0
"""The best of :data:`BLOCKS` to escalate at UGSD's disclosure, on dev speakers of out-of-domain
corpora; in-domain, all of them equal the drafter alone."""

MAJORITY_SAMPLE = 60
"""Number of training clips that are measured to find a corpus' most frequent levels."""

_SEED = 0


class BlockPolicy:
    """A policy that escalates at most one block per caption, chosen beforehand. A caption without
    any block does not count."""

    def __init__(self, blocks: Iterable[int | None]) -> None:
        """``blocks`` has the index of a block for each caption in turn; ``None`` escalates none."""
        self._blocks: Iterator[int | None] = iter(blocks)
        self._chosen: int | None = None
        self._index = 0

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        if block.start == 0:
            self._chosen, self._index = next(self._blocks, None), 0
        decision = Escalate(Disclosure.SUMMARY) if self._index == self._chosen else KeepLocal()
        self._index += 1
        return decision


def paper_recipe(name: str, recipe: str) -> System:
    """Return the method as the paper describes it: entropy in nats; the first rejected token is
    replaced by the verifier's argmax, the rest is dropped, and the drafter continues alone."""
    acceptance, tau = RECIPES[recipe]
    return System(
        name,
        lambda: UncertaintyPolicy(tau, whole_block=True),
        EntropyUncertainty("nats"),
        acceptance,
        ContinuationRule(max_tokens=0),
        BlockUnit.TOKENS,
    )


def entropy_system(name: str, threshold: float) -> System:
    """Return a system that sends blocks of tokens by the drafter's entropy, as a share of ln V."""
    return System(
        name,
        lambda: UncertaintyPolicy(threshold),
        EntropyUncertainty(),
        block_unit=BlockUnit.TOKENS,
    )


def entropy_threshold(drafter: Path) -> float | None:
    """Return the entropy threshold that was fitted with the drafter's rejection predictor and is
    stored in its ``gate.json``; ``None`` if an older folder has none.

    Raises :class:`EvaluationError` if it is not a number from 0 to 1.
    """
    value = json.loads((drafter / "gate.json").read_text("utf-8")).get("entropy_threshold")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise EvaluationError(
            f"{drafter / 'gate.json'}: entropy_threshold must be a number from 0 to 1: fit the "
            "rejection predictor again with `ugsd-lab train`"
        )
    return float(value)


def fixed_block(name: str, block: int, rate: float, captions: int) -> System:
    """Return a system that escalates the ``block``-th block of a share ``rate`` of the captions,
    which are drawn at random. ``captions`` is their number."""
    drawn = set(_random("lot").sample(range(captions), round(rate * captions)))
    blocks = [block if number in drawn else None for number in range(captions)]
    return System(name, lambda: BlockPolicy(blocks), block_unit=BlockUnit.TOKENS)


def first_token(name: str) -> System:
    """Return a system that sends the first token of every caption with the summary; the verifier
    writes the rest. This is the least disclosure that is possible without a rejection predictor."""
    return System(name, lambda: _first_token, block_unit=BlockUnit.TOKENS)


def _first_token(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
    return Escalate(Disclosure.SUMMARY, 1) if block.start == 0 else KeepLocal()


def majority_caption(training: Sequence[Clip], levels: Mapping[str, Levels]) -> str:
    """Return one caption for all clips: the most frequent attributes among the ``training`` clips,
    worded by the grammar. ``levels`` has the prosody of some of them by id; without any, every
    level is ``mid``."""
    labels = {
        name: _most_frequent([getattr(clip, name) for clip in training])
        for name in ("emotion", "gender", "intensity")
    }
    prosody = {
        f.name: _most_frequent([getattr(level, f.name) for level in levels.values()]) or "mid"
        for f in fields(Levels)
    }
    typical = replace(training[0], **labels)  # type: ignore[arg-type]
    return references(typical, Levels(**prosody), count=1)[0]  # type: ignore[arg-type]


def sample(clips: Sequence[Clip], count: int, salt: str = "") -> list[Clip]:
    """Return at most ``count`` of the clips, in their order; the same for the same ``salt``."""
    if len(clips) <= count:
        return list(clips)
    return [clips[i] for i in sorted(_random(salt).sample(range(len(clips)), count))]


def _random(salt: str) -> Random:
    return Random(f"{_SEED}:{salt}")  # noqa: S311  # an experiment's seed, not a secret


def _most_frequent(values: Iterable[str | None]) -> str | None:
    counts = Counter(value for value in values if value is not None)
    return max(sorted(counts), key=counts.__getitem__) if counts else None
