"""Matches the disclosure of baselines to UGSD's, since systems should be compared at an equal share
of disclosed tokens.

The disclosure of a baseline at several rates is measured on some clips of each corpus. The rate at
which it equals UGSD's share is interpolated from that curve: once per corpus, and once for all
corpora with equal weights, since a device has one setting everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal
from ugsd_sdk.settings.verification import BlockUnit

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.baselines import fixed_block, sample
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput

__all__ = [
    "MATCHING_CLIPS",
    "RATES",
    "DisclosureMatch",
    "RandomPolicy",
    "disclosed_share",
    "escalated_share",
    "match_disclosure",
    "random_system",
]

MATCHING_CLIPS = 100
"""Number of clips per corpus."""
RATES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""The rates of random escalation at which its disclosure is measured."""

_SEED = 0


class RandomPolicy:
    """Escalates a share ``rate`` of the blocks at random: a baseline for uncertainty scores."""

    def __init__(self, rate: float, seed: int, disclosure: Disclosure = Disclosure.SUMMARY) -> None:
        self._rate = rate
        self._random = Random(seed)  # noqa: S311  # an experiment's seed, not a secret
        self._disclosure = disclosure

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return Escalate(self._disclosure) if self._random.random() < self._rate else KeepLocal()


def random_system(name: str, rate: float, block_unit: BlockUnit = BlockUnit.TOKENS) -> System:
    """Return a system that escalates a share ``rate`` of the blocks at random."""
    return System(name, lambda: RandomPolicy(rate, _SEED), block_unit=block_unit)


def disclosed_share(outputs: Sequence[SystemOutput]) -> float:
    """Return distinct disclosed token positions / length of the captions, end markers included."""
    captions = [output.caption for output in outputs if output.caption is not None]
    disclosed = sum(caption.usage.num_disclosed_tokens for caption in captions)
    return disclosed / sum(len(caption.tokens) + 1 for caption in captions)


def escalated_share(outputs: Sequence[SystemOutput]) -> float:
    """Return escalated tokens / drafted tokens."""
    usages = [output.caption.usage for output in outputs if output.caption is not None]
    return sum(u.num_tokens for u in usages) / sum(u.num_drafted_tokens for u in usages)


@dataclass(frozen=True)
class DisclosureMatch:
    """The share of tokens that UGSD and each baseline disclose."""

    target: float
    """UGSD's share."""
    by_rate: NDArray[np.float64]
    """(rates,) the share of random escalation, by ascending rate."""
    by_block: Mapping[int, float]
    """Block index -> the share if that block of every caption is escalated."""

    @classmethod
    def mean(cls, several: Sequence[DisclosureMatch]) -> DisclosureMatch:
        """Return the mean over corpora, each with the same weight."""
        return cls(
            float(np.mean([match.target for match in several])),
            np.mean([match.by_rate for match in several], axis=0),
            {b: float(np.mean([m.by_block[b] for m in several])) for b in several[0].by_block},
        )

    def random_rate(self) -> float:
        """Return the lowest rate at which random escalation discloses UGSD's share, or else the
        rate at which it comes nearest.

        A higher rate may disclose as much: a caption that escalates early has little context to
        send, so disclosure falls again towards rate 1. That rate is nearly *escalate everything*,
        which the table has anyway; the lower one takes about as many round trips as UGSD.
        """
        rates, shares = np.array([0.0, *RATES]), np.array([0.0, *self.by_rate])
        fine = np.linspace(0, 1, 1001)
        over = np.interp(fine, rates, shares) - self.target
        crossings = np.flatnonzero(over[:-1] * over[1:] <= 0)
        return float(fine[crossings[0]] if len(crossings) else fine[np.abs(over).argmin()])

    def fixed_rate(self, block: int) -> float:
        """Return the share of captions that must escalate ``block`` to disclose UGSD's share; 1 if
        even all of them disclose less."""
        share = self.by_block[block]
        return self.target / share if share > self.target else 1.0


def match_disclosure(
    harness: EvaluationHarness,
    clips: Sequence[Clip],
    ugsd: Mapping[str, SystemOutput],
    blocks: Sequence[int],
    stage: Stage,
) -> DisclosureMatch:
    """Measure the baselines on at most :data:`MATCHING_CLIPS` of a corpus' ``clips``; ``ugsd`` has
    UGSD's outputs for all of them."""
    chosen = sample(clips, MATCHING_CLIPS)

    def share(system: System) -> float:
        return disclosed_share(list(harness.run(system, chosen, stage).values()))

    return DisclosureMatch(
        target=disclosed_share(list(ugsd.values())),
        by_rate=np.array([share(random_system("random", rate)) for rate in RATES]),
        by_block={b: share(fixed_block("fixed block", b, 1.0, len(chosen))) for b in blocks},
    )
