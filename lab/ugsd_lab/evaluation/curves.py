"""Emotion accuracy against disclosure and escalation, as the threshold of a system falls."""

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
from ugsd_lab.evaluation.matching import disclosed_share, escalated_share, random_system
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Domain
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
    "matched_entropy",
    "predictor_quality",
]

CURVE_CLIPS = 120
"""Number of clips per corpus: enough for a picture; the tables have the numbers."""
_ESCALATED = (0.05, 0.12, 0.25, 0.4, 0.6, 0.8)
"""Shares of the drafted blocks whose uncertainty reaches the thresholds of a curve."""
_RATES = (0.1, 0.25, 0.5, 0.75)
_RUNS = 3 + 2 + 1 + 2 * len(_ESCALATED) + len(_RATES) + len(BLOCKS)
_LEAST_CAPTIONS = 0.5
"""If the oracle gains less than this, predictor quality is undefined."""
_GRID = np.linspace(0, 1, 501)
"""Shares of escalated tokens at which curves are sampled to compute areas."""


@dataclass(frozen=True)
class Point:
    """The results of one setting."""

    disclosed: float
    """Share of tokens that were disclosed."""
    escalated: float
    """Escalated tokens / drafted tokens."""
    emotion: float
    """Share of captions with the right emotion."""


@dataclass(frozen=True)
class Curve:
    """A system at all its settings, the strictest first.

    Disclosure need not grow along the curve: the later a caption's first block is escalated, the
    more tokens are sent as its context.
    """

    name: str
    points: tuple[Point, ...]

    def at(self, escalated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return emotion accuracy at these shares: linear between points, constant beyond them."""
        ordered = sorted(self.points, key=lambda point: point.escalated)
        return np.interp(escalated, [p.escalated for p in ordered], [p.emotion for p in ordered])


@dataclass(frozen=True)
class CorpusCurves:
    """The curves of all systems on one corpus."""

    corpus: str
    domain: Domain
    clips: int
    alone: Point
    everything: Point
    shipped: Point
    """UGSD as shipped: at the drafter's own threshold, with blocks cut short."""
    curves: tuple[Curve, ...]
    """Rejection predictor, entropy threshold, random, fixed block, oracle."""
    predictor_quality: float
    """See :func:`predictor_quality`."""


class _RecordBlocks:
    """A policy that keeps every block local and records it, caption by caption."""

    def __init__(self) -> None:
        self.captions: list[list[BlockView]] = []

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal:
        if block.start == 0:
            self.captions.append([])
        self.captions[-1].append(block)
        return KeepLocal()


def curves_total(corpora: Sequence[Sequence[Clip]]) -> int:
    """Return the number of captions that :func:`curves_of` makes for these corpora."""
    return _RUNS * sum(min(len(clips), CURVE_CLIPS) for clips in corpora)


def curves_of(
    harness: EvaluationHarness, corpus: str, domain: Domain, clips: Sequence[Clip], stage: Stage
) -> CorpusCurves:
    """Measure every curve on at most :data:`CURVE_CLIPS` of the labelled ``clips``."""
    chosen = sample(clips, CURVE_CLIPS)

    def point(system: System) -> Point:
        return _point(chosen, harness.run(system, chosen, stage))

    alone, everything = (
        point(System("drafter alone", None)),
        point(System("everything", AlwaysEscalate)),
    )
    shipped = point(
        _threshold_system(harness.rejection_predictor, harness.rejection_predictor.threshold)
    )

    def curve(name: str, systems: Sequence[System], *last: Point) -> Curve:
        return Curve(name, (alone, *map(point, systems), *last))

    drafts = drafts_of(harness, chosen, harness.rejection_predictor, stage)
    entropy = drafts_of(harness, chosen, EntropyUncertainty(), stage)
    curves = (
        curve("rejection predictor", _thresholds(drafts, harness.rejection_predictor), everything),
        curve("entropy threshold", _thresholds(entropy, EntropyUncertainty()), everything),
        curve("random", [random_system("random", rate) for rate in _RATES], everything),
        curve("fixed block", [fixed_block("blocks", b, 1.0, len(chosen)) for b in BLOCKS]),
        curve("oracle", [oracle_system(harness, chosen, drafts)]),
    )
    quality = predictor_quality(
        predictor=curves[0], random=curves[2], oracle=curves[4], least=_LEAST_CAPTIONS / len(chosen)
    )
    return CorpusCurves(corpus, domain, len(chosen), alone, everything, shipped, curves, quality)


def predictor_quality(
    *, predictor: Curve, random: Curve, oracle: Curve, least: float = 0.0
) -> float:
    """Return the area between ``predictor`` and ``random`` at equal escalation, as a share of the
    area between ``oracle`` and ``random``; NaN if the oracle gains at most ``least`` over chance.

    1 is as good as knowing every verdict beforehand, 0 is as good as chance, below 0 is worse.
    """
    chance = random.at(_GRID)
    possible = float(np.mean(oracle.at(_GRID) - chance))
    gained = float(np.mean(predictor.at(_GRID) - chance))
    return gained / possible if possible > least else float("nan")


def matched_entropy(
    harness: EvaluationHarness, corpora: Sequence[Sequence[Clip]], progress: Progress
) -> float:
    """Return the entropy threshold that escalates the same share of drafted blocks as the rejection
    predictor, for drafters whose folder has none."""
    clips = [clip for corpus in corpora for clip in sample(corpus, CURVE_CLIPS)]
    stage = Stage(progress, "matching the entropy threshold", 2 * len(clips))
    predicted = _uncertainties(drafts_of(harness, clips, harness.rejection_predictor, stage))
    share = float(np.mean(predicted >= harness.rejection_predictor.threshold))
    return _threshold(drafts_of(harness, clips, EntropyUncertainty(), stage), share)


def drafts_of(
    harness: EvaluationHarness, clips: Sequence[Clip], uncertainty: Uncertainty, stage: Stage
) -> list[list[BlockView]]:
    """Return the blocks that the drafter alone makes of each clip, with their ``uncertainty``."""
    policy = _RecordBlocks()
    harness.run(System("drafts", lambda: policy, uncertainty), clips, stage)
    return policy.captions


def _uncertainties(drafts: Sequence[Sequence[BlockView]]) -> NDArray[np.float64]:
    return np.array([block.uncertainty for caption in drafts for block in caption])


def _threshold(drafts: Sequence[Sequence[BlockView]], share: float) -> float:
    """Return the uncertainty that a share of the blocks reaches."""
    return float(np.quantile(_uncertainties(drafts), 1 - share))


def _thresholds(drafts: Sequence[Sequence[BlockView]], uncertainty: Uncertainty) -> list[System]:
    """Return a system for each point of a curve. They send whole blocks, as random escalation and
    the oracle do: only then are shares of escalated tokens comparable."""
    return [
        _threshold_system(uncertainty, _threshold(drafts, share), whole=True)
        for share in _ESCALATED
    ]


def _threshold_system(uncertainty: Uncertainty, threshold: float, *, whole: bool = False) -> System:
    return System(
        "thresholds", lambda: UncertaintyPolicy(threshold, whole_block=whole), uncertainty
    )


def oracle_system(
    harness: EvaluationHarness, clips: Sequence[Clip], drafts: Sequence[Sequence[BlockView]]
) -> System:
    """Return a system that escalates only the block with the first token that the verifier rejects.
    The verifier continues to the end from there, so no later block remains to escalate."""
    engine = harness.engine(Typical(), Continuation())
    blocks: list[int | None] = []
    for clip, draft in zip(clips, drafts, strict=True):
        tokens = tuple(token for block in draft for token in block.tokens)
        summary = harness.drafter.start(harness.drafter.embedding(clip)).predict().state[None]
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


def _point(clips: Sequence[Clip], by_clip: Mapping[str, SystemOutput]) -> Point:
    right = [emotion_right(by_clip[clip.id].text, clip.emotion or "") for clip in clips]
    outputs = list(by_clip.values())
    return Point(disclosed_share(outputs), escalated_share(outputs), float(np.mean(right)))
