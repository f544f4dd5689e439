"""Fits the rejection predictor: a calibrated probability that the verifier would reject the
emotion that a caption states, and those that its verdict is a rescue, or spoils what was right.

There is one observation for each wording of a clip: the question that a device would ask about it.
In-domain, the drafter's own uncertainty predicts rejection. Out-of-domain it is confidently wrong,
and the OOD score helps. So the predictor is fitted on in-domain clips and, with equal weight, on
clips that are out-of-domain: those that the drafter of fewer corpora drafts of a corpus that it
lacks. For another drafter these are judged by its own states, as if it were the one that lacks the
corpus. Clips of a corpus that no bundled drafter knows are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Verdict
from ugsd_sdk.attributes.description import VoiceDescription
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.uncertainty import FEATURES, EntropyUncertainty, Logistic, spread_of
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.profile.usual_prosody import UsualProsody
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.recipe import DRAFTERS
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.training.calibration_error import expected_calibration_error
from ugsd_lab.training.profiles import MIN_ENROLMENT, clip_embedding, running_profiles
from ugsd_lab.training.verifier_decoding import projection_index, verdict_on

__all__ = [
    "IN_DOMAIN_ESCALATION_RATE",
    "Observed",
    "RejectionPredictorFit",
    "fit_rejection_predictors",
    "observe",
]

_FEATURES = ("log-odds", "log1p(ood_score)")
"""Chosen on dev speakers: the entropy, products and a bias of each drafter change neither the
calibration error nor the AUROC by more than chance."""
_LEAST_DRAFTER = "free"
"""The drafter of fewer corpora: the others know the corpora that it lacks."""
_KNOWN_CORPORA = DRAFTERS["starter"].corpora
"""The corpora that bundled drafters know."""
IN_DOMAIN_ESCALATION_RATE = 0.18
"""Share of the calibration speakers' captions that ask at the threshold."""
_WORDINGS = 3
"""Captions of each clip, which differ in their opening and in the words of the emotion."""


@dataclass(frozen=True)
class RejectionPredictorFit:
    """The contents of ``gate.json``."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    entropy_threshold: float
    """The threshold at which the entropy baseline escalates as many in-domain captions."""
    calibration_error: float
    """Expected calibration error on in-domain questions, ten bins of equal size."""
    rescue: Logistic
    """Predicts that the draft is wrong and the verdict right."""
    spoil: Logistic
    """Predicts that the draft is right and the verdict wrong."""

    def as_dict(self) -> dict[str, object]:
        """Return the contents in JSON types."""
        fitted = {name: getattr(self, name).model_dump() for name in ("rescue", "spoil")}
        return {**vars(self), **fitted}


@dataclass(frozen=True)
class Observed:
    """The question about one drafted caption, and the verdict."""

    features: Mapping[str, float]
    """By name, at the token that states the emotion."""
    entropy: float
    """The largest of the clause's tokens, as a share of ln V."""
    is_rejected: bool
    rescues: bool
    """Whether the drafted emotion is wrong and the verdict's right, by the label."""
    spoils: bool
    """Whether the drafted emotion is right and the verdict's wrong."""
    clip: Clip


def observe(
    drafter: OnnxDrafter,
    scorer: OnnxScorer,
    clips: Sequence[Clip],
    progress: Progress,
    *,
    stating: OnnxDrafter | None = None,
) -> list[Observed]:
    """Draft every clip greedily in several wordings, as a device does for an enrolled speaker, and
    ask the verifier about the emotion of each, with the states of the drafter ``stating``, by
    default the same. A caption that states no emotion asks nothing."""
    if not clips:
        return []
    stating = stating or drafter
    verifier, projection = Verifier(scorer), projection_index(stating.info, scorer.info)
    verifier.load()
    out = []
    enrolled = _enrolled_clips(drafter, stating, clips)
    for done, (clip, conditioned, state) in enumerate(enrolled, 1):
        for plan in _plans(conditioned, clip):
            draft = _draft(drafter, replace(conditioned, plan=plan))
            if draft is not None:
                verdict = verdict_on(verifier, draft.question, state, projection)
                out.append(_observed(draft, verdict, drafter.info.slot_table, clip))
        progress("calibrating", done, len(enrolled), "")
    return out


@dataclass(frozen=True)
class _Draft:
    question: Sequence[int]
    features: Mapping[str, float]
    entropy: float


def _observed(draft: _Draft, verdict: Verdict, table: SlotTable | None, clip: Clip) -> Observed:
    is_rejected = verdict.accepted < len(draft.question)
    drafted = verified = None if table is None else table.emotion_in(draft.question)
    if table is not None and verdict.correction is not None:
        verified = table.emotion_in([verdict.correction])
    return Observed(
        draft.features,
        draft.entropy,
        is_rejected,
        rescues=verified == clip.emotion != drafted,
        spoils=drafted == clip.emotion != verified,
        clip=clip,
    )


def _draft(drafter: OnnxDrafter, clip: ConditionedClip) -> _Draft | None:
    """Draft the clause of the emotion; ``None`` if it states none."""
    table = drafter.info.slot_table
    rules, entropy_of = BlockRules(table), EntropyUncertainty()
    session, ood_score = drafter.start(clip), clip.ood_score
    features: Mapping[str, float] = {}
    question: Sequence[int] = ()
    entropies = []
    while len(session.tokens) < drafter.info.max_tokens:
        prediction = session.predict()
        token = int(prediction.choices.argmax())
        if table is None or table.slots[token] is not Slot.EMOTION:
            break
        entropies.append(entropy_of(prediction.logits, ood_score))
        if rules.is_judged(token, session.tokens):
            spread = spread_of(prediction.logits)
            features = {name: feature(spread, ood_score) for name, feature in FEATURES.items()}
            question = (*session.tokens, token)
        session.append([token])
    return _Draft(question, features, max(entropies)) if question else None


def _plans(conditioned: ConditionedClip, clip: Clip) -> list[CaptionPlan]:
    """Return plans of captions that word the emotion as strongly as a device does."""
    described = VoiceDescription.of(
        conditioned.emotion,
        conditioned.strong,
        None,
        femininity=None,
        usual=UsualProsody(),
        previous=None,
        now_s=monotonic(),
    )
    return [
        described.plan(CaptionLength.NORMAL, f"{clip.id}:{number}") for number in range(_WORDINGS)
    ]


def _enrolled_clips(
    drafter: OnnxDrafter, stating: OnnxDrafter, clips: Sequence[Clip]
) -> list[tuple[Clip, ConditionedClip, NDArray[np.float32]]]:
    """Return the clips of enrolled speakers, as the drafter knows them, with the other's state:
    both have the same audio encoder."""
    embeddings = [clip_embedding(drafter, clip) for clip in clips]
    profiles = running_profiles(clips, embeddings)
    return [
        (
            clip,
            drafter.condition(embedding, profile),
            stating.condition(embedding, profile).state,
        )
        for clip, embedding, profile in zip(clips, embeddings, profiles, strict=True)
        if profile.count >= MIN_ENROLMENT
    ]


def fit_rejection_predictors(
    drafters: Path,
    verifier: Path,
    clips: Sequence[Clip],
    corpora_of: Mapping[str, Sequence[str]],
    progress: Progress,
) -> dict[str, RejectionPredictorFit]:
    """Fit a rejection predictor for each drafter of ``corpora_of`` (name below ``drafters`` -> its
    own corpora): a logistic regression over in-domain and out-of-domain questions, weighted
    equally. The threshold is from ``clips`` of the drafter's own corpora alone.
    """
    scorer = OnnxScorer(verifier)
    scorer.load()
    loaded = {name: OnnxDrafter(drafters / name) for name in corpora_of}
    for drafter in loaded.values():
        drafter.load()
    lacking = [
        clip
        for clip in clips
        if clip.corpus in _KNOWN_CORPORA and clip.corpus not in corpora_of[_LEAST_DRAFTER]
    ]
    fits = {}
    for name, own in corpora_of.items():
        drafter = loaded[name]
        in_domain = observe(
            drafter, scorer, [clip for clip in clips if clip.corpus in own], progress
        )
        out_of_domain = observe(loaded[_LEAST_DRAFTER], scorer, lacking, progress, stating=drafter)
        fits[name] = _fit(in_domain, out_of_domain)
    return fits


def _fit(in_domain: Sequence[Observed], out_of_domain: Sequence[Observed]) -> RejectionPredictorFit:
    pools = [pool for pool in (in_domain, out_of_domain) if pool]
    rows = [feature_rows(pool, _FEATURES) for pool in pools]
    weights, bias = fit_rising(rows, [np.array([o.is_rejected for o in pool]) for pool in pools])
    rescues = [np.array([o.rescues for o in pool]) for pool in pools]
    spoils = [np.array([o.spoils for o in pool]) for pool in pools]
    chance = sigmoid(feature_rows(in_domain, _FEATURES) @ weights + bias)
    return RejectionPredictorFit(
        features=_FEATURES,
        weights=tuple(map(float, weights)),
        bias=bias,
        threshold=threshold_of(chance),
        entropy_threshold=threshold_of([o.entropy for o in in_domain]),
        calibration_error=expected_calibration_error(
            chance, np.array([o.is_rejected for o in in_domain])
        ),
        rescue=_logistic(*fit_logistic(rows, rescues)),
        spoil=_logistic(*fit_logistic(rows, spoils)),
    )


def _logistic(weights: NDArray[np.float64], bias: float) -> Logistic:
    return Logistic(weights=tuple(map(float, weights)), bias=bias)


def feature_rows(observed: Sequence[Observed], features: Sequence[str]) -> NDArray[np.float64]:
    """Return the named features as (n, F)."""
    return np.array([[o.features[name] for name in features] for o in observed])


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-z))


def fit_rising(
    pools: Sequence[NDArray[np.float64]], happened: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], float]:
    """Return :func:`fit_logistic` without negative weights: with more doubt, or farther from the
    training data, a drafter is never surer. A feature that would get one is left out."""
    kept = np.ones(pools[0].shape[1], dtype=np.bool_)
    while kept.any():
        fitted, bias = fit_logistic([pool[:, kept] for pool in pools], happened)
        if (fitted >= 0).all():
            weights = np.zeros(len(kept))
            weights[kept] = fitted
            return weights, bias
        kept[np.flatnonzero(kept)[fitted < 0]] = False
    raise TrainingError("no feature of the drafter's doubt predicts a rejection: train longer")


def fit_logistic(
    pools: Sequence[NDArray[np.float64]], happened: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], float]:
    """Return weights and bias of a logistic regression over (n, F) pools, weighted equally whatever
    their sizes, by L-BFGS with a weak ridge."""
    x, y = np.concatenate(pools), np.concatenate(happened)
    share = np.concatenate([np.full(len(pool), 1 / len(pool)) for pool in pools])
    mean, scale = x.mean(0), x.std(0) + 1e-9
    inputs, targets = torch.from_numpy((x - mean) / scale), torch.from_numpy(y.astype(float))
    each = torch.from_numpy(share / share.sum())
    parameters = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        z = inputs @ parameters[:-1] + parameters[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            z, targets, weight=each, reduction="sum"
        )
        loss = loss + 1e-4 * (parameters[:-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    fitted = parameters.detach().numpy()
    weights = fitted[:-1] / scale
    return weights, float(fitted[-1] - weights @ mean)


def threshold_of(uncertainties: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the uncertainty that ``IN_DOMAIN_ESCALATION_RATE`` of the captions reach."""
    return float(np.quantile(uncertainties, 1 - IN_DOMAIN_ESCALATION_RATE))
