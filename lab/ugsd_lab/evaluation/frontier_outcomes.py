"""Captions of every clip without a question and with one, from which any gate's result follows.

A caption has one question. So whatever a gate decides, the caption is one of two: that of the
drafter alone, or that whose question was asked. Both are recorded once for each thing that a
question may disclose, and a gate's result is a mixture of them: exact, not an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.decoding.policy import AlwaysEscalate, GainPolicy, NeverEscalate
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.settings.verification import BlockUnit

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.claim_truth import Truth
from ugsd_lab.evaluation.claims import checked_claims, stated_values
from ugsd_lab.evaluation.curves import drafts_of
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption

    from ugsd_lab.models.embeddings import Progress

__all__ = ["DRAWS", "EXPOSURES", "SIGMAS", "Exposure", "Outcomes", "Recorded", "record"]

Float64 = NDArray[np.float64]

SIGMAS = (0.1, 0.25, 0.5, 1.0)
"""Noise on states, in clip norms."""
_MOST_GAIN = 1.0
DRAWS = 2
"""How often a question with noise is asked, since the device's noise cannot be repeated."""


@dataclass(frozen=True)
class Exposure:
    """What a question discloses."""

    disclosure: Disclosure
    sigma: float | None = None
    """Noise on its state, in clip norms; ``None``: none."""

    def __str__(self) -> str:
        return str(self.disclosure) if self.sigma is None else f"sigma {self.sigma:g}"


EXPOSURES = (
    Exposure(Disclosure.TOKENS),
    Exposure(Disclosure.SUMMARY),
    *(Exposure(Disclosure.SUMMARY, sigma) for sigma in SIGMAS),
)


@dataclass(frozen=True)
class Outcomes:
    """What became of each of n captions, on average over the draws of the noise."""

    emotion: Float64
    """(n,) 1 if it names the right emotion and no other, else 0."""
    right_claims: Float64
    claims: Float64
    """(n,) Number of its claims that are right, and of those that were checked."""
    tokens: Float64
    numbers: Float64
    bytes_sent: Float64
    """(n,) What it disclosed."""
    changed: Float64
    """(n,) 1 if its text is not that of the drafter alone."""
    total_ms: Float64
    """(n,) Time to the caption, the audio encoder included, without a network."""


@dataclass(frozen=True)
class Recorded:
    """The captions of n clips, unasked and asked."""

    corpora: tuple[str, ...]
    speakers: tuple[str, ...]
    """(n,) ``corpus/speaker``."""
    in_domain: NDArray[np.bool_]
    """(n,) Whether the drafter was trained on the corpus."""
    uncertainty: Float64
    """(n,) The rejection predictor's probability; 0 for a caption without a question."""
    entropy: Float64
    gain: Float64
    """(n,) The expected gain of asking; -1, the least, for a caption without a question."""
    alone: Outcomes
    asked: Mapping[Exposure, Outcomes]

    @cached_property
    def weights(self) -> Float64:
        """(n,) The weight of each caption: both domains have the same, and the sum is 1."""
        counts = np.where(self.in_domain, self.in_domain.sum(), (~self.in_domain).sum())
        domains = len(set(self.in_domain.tolist()))
        weights: Float64 = 1 / (counts * domains)
        return weights


def record(
    harness: EvaluationHarness,
    pair: Pair,
    clips: Sequence[Clip],
    truths: Mapping[str, Truth],
    exposures: Sequence[Exposure],
    progress: Progress,
    *,
    draws: int = DRAWS,
) -> Recorded:
    """Caption the labelled ``clips``, which the harness has encoded, without a question and with
    one at each exposure; ``truths`` has what the captions may claim, by clip id."""
    times = {one: 1 if one.sigma is None else draws for one in exposures}
    stage = Stage(progress, "asking", (3 + sum(times.values())) * len(clips))
    drafts = harness.run(System("drafter alone", None), clips, stage)
    entropies = drafts_of(harness, clips, EntropyUncertainty(), BlockUnit.SLOT, stage)
    never = System("gains", lambda: GainPolicy(NeverEscalate(), min_gain=_MOST_GAIN))
    gains = harness.run(never, clips, stage)

    def outcomes(runs: Iterable[Mapping[str, SystemOutput]]) -> Outcomes:
        rows = [
            [_row(run[c.id], drafts[c.id], c, truths[c.id], harness) for c in clips] for run in runs
        ]
        return Outcomes(*np.array(rows).mean(axis=0).T)

    def asked(one: Exposure) -> Outcomes:
        system = System(str(one), lambda: AlwaysEscalate(one.disclosure), sigma=one.sigma)
        return outcomes(harness.run(system, clips, stage) for _ in range(times[one]))

    return Recorded(
        corpora=tuple(clip.corpus for clip in clips),
        speakers=tuple(f"{clip.corpus}/{clip.speaker}" for clip in clips),
        in_domain=np.array([clip.corpus in pair.in_domain for clip in clips]),
        uncertainty=np.array([drafts[clip.id].uncertainty for clip in clips]),
        entropy=np.array([draft.uncertainty for draft in entropies]),
        gain=np.array([_gain(gains[clip.id]) for clip in clips]),
        alone=outcomes([drafts]),
        asked={one: asked(one) for one in exposures},
    )


def _gain(output: SystemOutput) -> float:
    """Return the expected gain of the question of a caption whose policy asks nothing."""
    reasons = () if output.caption is None else (one.reason for one in output.caption.decisions)
    gains = (one.value for one in reasons if one.code is ReasonCode.NO_GAIN_EXPECTED)
    gain = next(gains, None)
    return -_MOST_GAIN if gain is None else gain


def _row(
    output: SystemOutput, draft: SystemOutput, clip: Clip, truth: Truth, harness: EvaluationHarness
) -> list[float]:
    """Return the fields of :class:`Outcomes` for one caption."""
    caption = cast("Caption", output.caption)  # the captioner made it
    checked = checked_claims(stated_values(caption.attributes), truth)
    usage = caption.usage
    return [
        float(emotion_right(output.text, clip.emotion or "")),
        float(sum(checked.values())),
        float(len(checked)),
        float(usage.num_disclosed_tokens),
        float(usage.num_disclosed_states * harness.drafter.info.state_dim),
        float(usage.bytes_sent),
        float(output.text != draft.text),
        output.total_ms,
    ]
