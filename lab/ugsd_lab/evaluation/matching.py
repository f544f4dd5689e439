"""Giving a baseline UGSD's disclosure: a gate must win at an equal share of tokens that left.

How a baseline's disclosure depends on its rate is measured on some clips of each corpus; the rate
that meets UGSD's share is read from that curve, once for each corpus, and once for all corpora
counted alike, since a device has one setting everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.decoding.policy import RandomPolicy

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.baselines import fixed_block, sample
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput

__all__ = [
    "MATCHING_CLIPS",
    "RATES",
    "DisclosureMatch",
    "disclosed_share",
    "escalated_share",
    "match_disclosure",
    "random_gate",
]

MATCHING_CLIPS = 100
"""Per corpus."""
RATES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the random gate, at which its disclosure is measured."""

_SEED = 0


def random_gate(name: str, rate: float) -> System:
    """Escalates a share ``rate`` of the blocks at random."""
    return System(name, lambda: RandomPolicy(rate, _SEED))


def disclosed_share(said: Sequence[SystemOutput]) -> float:
    """Distinct token positions that left / length of the captions, end markers included."""
    captions = [one.caption for one in said if one.caption is not None]
    left = sum(caption.usage.num_disclosed_tokens for caption in captions)
    return left / sum(len(caption.tokens) + 1 for caption in captions)


def escalated_share(said: Sequence[SystemOutput]) -> float:
    """Escalated tokens / drafted tokens."""
    costs = [one.caption.usage for one in said if one.caption is not None]
    return sum(cost.num_tokens for cost in costs) / sum(cost.num_drafted_tokens for cost in costs)


@dataclass(frozen=True)
class DisclosureMatch:
    """What share of tokens leaves under UGSD, and under each baseline."""

    wanted: float
    """UGSD's."""
    by_rate: NDArray[np.float64]
    """(rates,) of the random gate, by ascending rate."""
    by_block: Mapping[int, float]
    """Where that block of every caption is escalated."""

    @classmethod
    def mean(cls, several: Sequence[DisclosureMatch]) -> DisclosureMatch:
        """Of corpora that count alike."""
        return cls(
            float(np.mean([reach.wanted for reach in several])),
            np.mean([reach.by_rate for reach in several], axis=0),
            {b: float(np.mean([r.by_block[b] for r in several])) for b in several[0].by_block},
        )

    def random_rate(self) -> float:
        """The least rate at which the random gate discloses what UGSD does; where it never
        discloses as much, that at which it comes nearest.

        A greater rate may disclose as much: a caption that escalates early has little context to
        send, so that disclosure falls again towards rate 1. That one is nearly *escalate
        everything*, which the table has anyway; the lesser one has about UGSD's round trips.
        """
        rates, shares = np.array([0.0, *RATES]), np.array([0.0, *self.by_rate])
        fine = np.linspace(0, 1, 1001)
        over = np.interp(fine, rates, shares) - self.wanted
        crossings = np.flatnonzero(over[:-1] * over[1:] <= 0)
        return float(fine[crossings[0]] if len(crossings) else fine[np.abs(over).argmin()])

    def fixed_rate(self, block: int) -> float:
        """The share of captions that are to escalate ``block``, so that what they disclose is what
        UGSD does, or less where even all of them disclose less."""
        share = self.by_block[block]
        return self.wanted / share if share > self.wanted else 1.0


def match_disclosure(
    bench: EvaluationHarness,
    clips: Sequence[Clip],
    ugsd: Mapping[str, SystemOutput],
    blocks: Sequence[int],
    stage: Stage,
) -> DisclosureMatch:
    """The baselines on at most :data:`MATCHING_CLIPS` of a corpus' ``clips``; ``ugsd`` is what UGSD
    said of all of them."""
    chosen = sample(clips, MATCHING_CLIPS)

    def share(arm: System) -> float:
        return disclosed_share(list(bench.run(arm, chosen, stage).values()))

    return DisclosureMatch(
        wanted=disclosed_share(list(ugsd.values())),
        by_rate=np.array([share(random_gate("random", rate)) for rate in RATES]),
        by_block={b: share(fixed_block("fixed block", b, 1.0, len(chosen))) for b in blocks},
    )
