"""Giving a baseline UGSD's disclosure: a gate must win at an equal share of tokens that left.

How a baseline's disclosure grows with its rate is measured once on some clips of each corpus; the
rate that meets UGSD's share of the same clips is read from that curve, once for each corpus, and
once for all corpora counted alike, since a device has one setting everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.policy import RandomPolicy

from ugsd_lab.corpora import Clip
from ugsd_lab.evaluation.arms import Arm, Bench, Said, Stage
from ugsd_lab.evaluation.baselines import BLOCKS, fixed_block, sample

__all__ = ["MATCHING_CLIPS", "MATCHING_RUNS", "RATES", "Reach", "disclosed_share", "random_gate",
           "reach_of"]  # fmt: skip

MATCHING_CLIPS = 50
"""Per corpus."""
RATES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the random gate, at which its disclosure is measured."""
MATCHING_RUNS = len(RATES) + len(BLOCKS)

_SEED = 0


def random_gate(name: str, rate: float) -> Arm:
    """Escalates a share ``rate`` of the blocks at random."""
    return Arm(name, lambda: RandomPolicy(rate, _SEED))


def disclosed_share(said: Sequence[Said]) -> float:
    """Distinct token positions that left / length of the captions, end markers included."""
    captions = [one.caption for one in said if one.caption is not None]
    left = sum(caption.escalation.disclosed_tokens for caption in captions)
    return left / sum(len(caption.tokens) + 1 for caption in captions)


@dataclass(frozen=True)
class Reach:
    """What share of tokens some clips disclose under each baseline, and under UGSD."""

    wanted: float
    by_rate: NDArray[np.float64]
    """(rates,) of the random gate, ascending."""
    by_block: NDArray[np.float64]
    """(blocks,) where that block of every caption is escalated."""

    @classmethod
    def mean(cls, several: Sequence[Reach]) -> Reach:
        """Of corpora that count alike."""
        return cls(
            float(np.mean([reach.wanted for reach in several])),
            np.mean([reach.by_rate for reach in several], axis=0),
            np.mean([reach.by_block for reach in several], axis=0),
        )

    def random_rate(self) -> float:
        """The rate at which the random gate discloses what UGSD does."""
        shares = np.maximum.accumulate([0.0, *self.by_rate])
        return float(np.interp(self.wanted, shares, [0.0, *RATES]))

    def fixed(self, block: int) -> tuple[int, float]:
        """The block to escalate, ``block`` or the next one that can reach UGSD's share, and in
        which share of the captions. Disclosure is in proportion to that."""
        able = [b for b in BLOCKS[block:] if self.by_block[b] >= self.wanted]
        chosen = able[0] if able else int(self.by_block.argmax())
        share = float(self.by_block[chosen])
        return chosen, self.wanted / share if share > self.wanted else 1.0


def reach_of(bench: Bench, clips: Sequence[Clip], ugsd: Mapping[str, Said], stage: Stage) -> Reach:
    """Measured on at most :data:`MATCHING_CLIPS` of a corpus' ``clips``; ``ugsd`` is what UGSD said
    of them."""
    chosen = sample(clips, MATCHING_CLIPS)

    def share(arm: Arm) -> float:
        return disclosed_share(list(bench.run(arm, chosen, stage).values()))

    return Reach(
        wanted=disclosed_share([ugsd[clip.id] for clip in chosen]),
        by_rate=np.array([share(random_gate("random", rate)) for rate in RATES]),
        by_block=np.array([share(fixed_block("fixed block", b, 1.0, len(chosen))) for b in BLOCKS]),
    )
