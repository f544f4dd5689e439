"""Quality against disclosure and escalation: what a gate gains as its threshold falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import clip as clipped
from ugsd_privacy.dp.mechanism import quantise
from ugsd_privacy.protocol.messages import Block
from ugsd_sdk.decoding.decoder import BLOCK_TOKENS
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, Uncertainty
from ugsd_server.verifier.acceptance import Continuation, Typical
from ugsd_server.verifier.engine import CaptionState

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.baselines import BLOCKS, BlockPolicy, fixed_block, sample
from ugsd_lab.evaluation.matching import disclosed_share, escalated_share, random_gate
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Where
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = [
    "CURVE_CLIPS",
    "CorpusCurves",
    "Curve",
    "Point",
    "curves_of",
    "curves_total",
    "gate_quality",
    "matched_entropy",
]

CURVE_CLIPS = 120
"""Per corpus; a curve is a picture, the table has the numbers."""
_ESCALATED = (0.05, 0.12, 0.25, 0.4, 0.6, 0.8)
"""Shares of the drafts' blocks at or above a gate's thresholds."""
_RATES = (0.1, 0.25, 0.5, 0.75)
_RUNS = 3 + 2 + 1 + 2 * len(_ESCALATED) + len(_RATES) + len(BLOCKS)
_LEAST_CAPTIONS = 0.5
"""A smaller gain of the oracle's is too little to be a share of."""
_GRID = np.linspace(0, 1, 501)
"""Shares of escalated tokens, over which a curve's area is taken."""


@dataclass(frozen=True)
class Point:
    """One setting of a gate."""

    disclosed: float
    """Share of tokens that left."""
    escalated: float
    """Escalated tokens / drafted tokens."""
    emotion: float
    """Share of captions with the right emotion."""


@dataclass(frozen=True)
class Curve:
    """A gate at all its settings, the strictest first.

    Disclosure need not grow with them: the later a caption's first block escalates, the more tokens
    leave as its context.
    """

    name: str
    points: tuple[Point, ...]

    def at(self, escalated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Emotion accuracy at these shares, straight between the points and level after them."""
        ordered = sorted(self.points, key=lambda point: point.escalated)
        return np.interp(escalated, [p.escalated for p in ordered], [p.emotion for p in ordered])


@dataclass(frozen=True)
class CorpusCurves:
    """All gates on one corpus."""

    corpus: str
    where: Where
    clips: int
    alone: Point
    everything: Point
    shipped: Point
    """UGSD as it is shipped: at the drafter's own threshold, blocks cut short."""
    curves: tuple[Curve, ...]
    """UGSD's gate, the entropy gate, random, fixed block, oracle."""
    gate_quality: float
    """See :func:`gate_quality`."""


class _Draft:
    """A policy that commits every block and remembers it, caption by caption."""

    def __init__(self) -> None:
        self.captions: list[list[BlockView]] = []

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal:
        if block.start == 0:
            self.captions.append([])
        self.captions[-1].append(block)
        return KeepLocal()


def curves_total(corpora: Sequence[Sequence[Clip]]) -> int:
    """How many captions :func:`curves_of` makes of these corpora."""
    return _RUNS * sum(min(len(clips), CURVE_CLIPS) for clips in corpora)


def curves_of(
    bench: EvaluationHarness, corpus: str, where: Where, clips: Sequence[Clip], stage: Stage
) -> CorpusCurves:
    """Move every gate's setting on at most :data:`CURVE_CLIPS` of the labelled ``clips``."""
    chosen = sample(clips, CURVE_CLIPS)

    def point(arm: System) -> Point:
        return _point(chosen, bench.run(arm, chosen, stage))

    alone, everything = (
        point(System("drafter alone", None)),
        point(System("everything", AlwaysEscalate)),
    )
    shipped = point(_gated(bench.rejection_predictor, bench.rejection_predictor.threshold))

    def curve(name: str, arms: Sequence[System], *last: Point) -> Curve:
        return Curve(name, (alone, *map(point, arms), *last))

    ours = drafts_of(bench, chosen, bench.rejection_predictor, stage)
    entropy = drafts_of(bench, chosen, EntropyUncertainty(), stage)
    curves = (
        curve("UGSD's gate", _thresholds(ours, bench.rejection_predictor), everything),
        curve("entropy gate", _thresholds(entropy, EntropyUncertainty()), everything),
        curve("random", [random_gate("random", rate) for rate in _RATES], everything),
        curve("fixed block", [fixed_block("blocks", b, 1.0, len(chosen)) for b in BLOCKS]),
        curve("oracle", [oracle_arm(bench, chosen, ours)]),
    )
    quality = gate_quality(
        gate=curves[0], random=curves[2], oracle=curves[4], least=_LEAST_CAPTIONS / len(chosen)
    )
    return CorpusCurves(corpus, where, len(chosen), alone, everything, shipped, curves, quality)


def gate_quality(*, gate: Curve, random: Curve, oracle: Curve, least: float = 0.0) -> float:
    """Area between ``gate`` and ``random`` at equal escalation, as a share of that between
    ``oracle`` and ``random``; NaN where the oracle gains no more than ``least`` over chance.

    1 is as good as knowing every verdict beforehand, 0 as good as chance, below 0 worse.
    """
    chance = random.at(_GRID)
    possible = float(np.mean(oracle.at(_GRID) - chance))
    return float(np.mean(gate.at(_GRID) - chance)) / possible if possible > least else float("nan")


def matched_entropy(
    bench: EvaluationHarness, corpora: Sequence[Sequence[Clip]], progress: Progress
) -> float:
    """The entropy gate's threshold at which it escalates the same share of the drafts' blocks as
    our own gate does, for drafters whose folder does not name one."""
    clips = [clip for of in corpora for clip in sample(of, CURVE_CLIPS)]
    stage = Stage(progress, "matching the entropy gate", 2 * len(clips))
    ours = _uncertainties(drafts_of(bench, clips, bench.rejection_predictor, stage))
    share = float(np.mean(ours >= bench.rejection_predictor.threshold))
    return _threshold(drafts_of(bench, clips, EntropyUncertainty(), stage), share)


def drafts_of(
    bench: EvaluationHarness, clips: Sequence[Clip], gate: Uncertainty, stage: Stage
) -> list[list[BlockView]]:
    """The drafter's own blocks of each clip, under ``gate``."""
    policy = _Draft()
    bench.run(System("drafts", lambda: policy, gate), clips, stage)
    return policy.captions


def _uncertainties(drafts: Sequence[Sequence[BlockView]]) -> NDArray[np.float64]:
    return np.array([block.uncertainty for caption in drafts for block in caption])


def _threshold(drafts: Sequence[Sequence[BlockView]], share: float) -> float:
    """That which a share of the blocks reach."""
    return float(np.quantile(_uncertainties(drafts), 1 - share))


def _thresholds(drafts: Sequence[Sequence[BlockView]], gate: Uncertainty) -> list[System]:
    """Whole blocks, as the random gate and the oracle send: only then are shares of escalated
    tokens comparable."""
    return [_gated(gate, _threshold(drafts, share), whole=True) for share in _ESCALATED]


def _gated(gate: Uncertainty, threshold: float, *, whole: bool = False) -> System:
    return System("thresholds", lambda: UncertaintyPolicy(threshold, whole_block=whole), gate)


def oracle_arm(
    bench: EvaluationHarness, clips: Sequence[Clip], drafts: Sequence[Sequence[BlockView]]
) -> System:
    """Escalates only the block that holds the first token which the verifier rejects; the verifier
    goes on to the end from there, so that no later block is left to ask about."""
    engine = bench.engine(Typical(), Continuation())
    blocks: list[int | None] = []
    for clip, draft in zip(clips, drafts, strict=True):
        tokens = tuple(token for block in draft for token in block.tokens)
        summary = bench.drafter.start(bench.drafter.embedding(clip)).predict().state[None]
        block = Block(
            caption=0,
            keep=0,
            prefix=(),
            tokens=tokens,
            state_positions=(0,),
            state_dim=summary.shape[1],
            states=quantise(clipped(summary, 1.0), 1.0),
        )
        accepted = engine.verify(CaptionState(), block).accepted
        blocks.append(accepted // BLOCK_TOKENS if accepted < len(tokens) else None)
    return System("oracle", lambda: BlockPolicy(blocks))


def _point(clips: Sequence[Clip], said: Mapping[str, SystemOutput]) -> Point:
    right = [emotion_right(said[clip.id].text, clip.emotion or "") for clip in clips]
    everything = list(said.values())
    return Point(disclosed_share(everything), escalated_share(everything), float(np.mean(right)))
