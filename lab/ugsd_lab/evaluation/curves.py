"""Emotion accuracy against disclosure and escalation, as the threshold of a system falls.

The rejection predictor, chance and the oracle decide about the same questions. The entropy and the
fixed block decide about blocks of tokens, as the baselines do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.decoding.policy import AlwaysEscalate, NeverEscalate, UncertaintyPolicy
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, Uncertainty
from ugsd_sdk.settings.verification import BlockUnit

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.baselines import BLOCKS, BlockPolicy, fixed_block, sample
from ugsd_lab.evaluation.matching import disclosed_share, escalated_share, random_system
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Domain
from ugsd_lab.evaluation.systems import (
    EvaluationHarness,
    Stage,
    System,
    SystemOutput,
    shipped_policy,
)

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
"""Shares of the captions whose uncertainty reaches the thresholds of a curve."""
_RATES = (0.1, 0.25, 0.5, 0.75)
_RUNS = 4 + 2 + 1 + 2 * len(_ESCALATED) + len(_RATES) + len(BLOCKS)
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
    """UGSD as shipped: it asks where a gain is expected."""
    curves: tuple[Curve, ...]
    """Rejection predictor, entropy threshold, random, fixed block, oracle."""
    predictor_quality: float
    """See :func:`predictor_quality`."""


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

    alone, asked, everything = (
        point(System("drafter alone", None)),
        point(System("always ask", AlwaysEscalate)),
        point(System("everything", AlwaysEscalate, block_unit=BlockUnit.TOKENS)),
    )
    predictor = harness.rejection_predictor
    shipped = point(System("as shipped", lambda: shipped_policy(predictor)))

    def curve(name: str, systems: Sequence[System], *last: Point) -> Curve:
        return Curve(name, (alone, *map(point, systems), *last))

    drafts = drafts_of(harness, chosen, predictor, BlockUnit.SLOT, stage)
    entropy = drafts_of(harness, chosen, EntropyUncertainty(), BlockUnit.TOKENS, stage)
    at_random = [random_system("random", rate, BlockUnit.SLOT) for rate in _RATES]
    curves = (
        curve("rejection predictor", _thresholds(drafts, predictor, BlockUnit.SLOT), asked),
        curve(
            "entropy threshold",
            _thresholds(entropy, EntropyUncertainty(), BlockUnit.TOKENS),
            everything,
        ),
        curve("random", at_random, asked),
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
    """Return the entropy threshold that escalates in the same share of captions as the rejection
    predictor, for drafters whose folder has none."""
    clips = [clip for corpus in corpora for clip in sample(corpus, CURVE_CLIPS)]
    stage = Stage(progress, "matching the entropy threshold", 2 * len(clips))
    predictor = harness.rejection_predictor
    predicted = drafts_of(harness, clips, predictor, BlockUnit.SLOT, stage)
    share = np.mean([draft.uncertainty >= predictor.threshold for draft in predicted])
    entropy = drafts_of(harness, clips, EntropyUncertainty(), BlockUnit.TOKENS, stage)
    return _threshold(entropy, float(share))


def drafts_of(
    harness: EvaluationHarness,
    clips: Sequence[Clip],
    uncertainty: Uncertainty,
    block_unit: BlockUnit,
    stage: Stage,
) -> list[SystemOutput]:
    """Return the drafter's own caption of each clip, with its ``uncertainty``."""
    outputs = harness.run(
        System("drafts", NeverEscalate, uncertainty, block_unit=block_unit), clips, stage
    )
    return [outputs[clip.id] for clip in clips]


def _threshold(drafts: Sequence[SystemOutput], share: float) -> float:
    """Return the uncertainty that a share of the captions reaches."""
    return float(np.quantile([draft.uncertainty for draft in drafts], 1 - share))


def _thresholds(
    drafts: Sequence[SystemOutput], uncertainty: Uncertainty, block_unit: BlockUnit
) -> list[System]:
    """Return a system for each point of a curve."""
    return [
        _threshold_system(uncertainty, _threshold(drafts, share), block_unit)
        for share in _ESCALATED
    ]


def _threshold_system(uncertainty: Uncertainty, threshold: float, block_unit: BlockUnit) -> System:
    return System(
        "thresholds",
        lambda: UncertaintyPolicy(threshold, whole_block=block_unit is BlockUnit.TOKENS),
        uncertainty,
        block_unit=block_unit,
    )


def oracle_system(
    harness: EvaluationHarness, clips: Sequence[Clip], drafts: Sequence[SystemOutput]
) -> System:
    """Return a system that asks exactly the questions whose draft the verifier rejects."""
    blocks = [
        0 if harness.is_rejected(clip, draft.question) else None
        for clip, draft in zip(clips, drafts, strict=True)
        if draft.question
    ]
    return System("oracle", lambda: BlockPolicy(blocks))


def _point(clips: Sequence[Clip], by_clip: Mapping[str, SystemOutput]) -> Point:
    right = [emotion_right(by_clip[clip.id].text, clip.emotion or "") for clip in clips]
    outputs = list(by_clip.values())
    return Point(disclosed_share(outputs), escalated_share(outputs), float(np.mean(right)))
