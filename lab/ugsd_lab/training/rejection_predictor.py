"""Fits the rejection predictor: a calibrated probability that the verifier would reject a drafted
token.

In-domain, the drafter's own uncertainty predicts rejection. Out-of-domain it is confidently wrong,
and only the OOD score helps. So the predictor is fitted on in-domain clips and on clips that are
out-of-domain for the drafter concerned: the drafter of fewer corpora gets speakers of a corpus that
it lacks. Clips of a corpus that no bundled drafter knows are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_sdk.decoding.uncertainty import FEATURES, EntropyUncertainty, spread_of
from ugsd_sdk.drafter import AudioEmbedding
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_server.verifier.acceptance import Typical
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.data.captions import attributes_named
from ugsd_lab.data.corpora import Clip
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.training.profiles import MIN_ENROLMENT, clip_embedding, running_profiles
from ugsd_lab.training.verifier_decoding import decode_with_verifier, rejections

__all__ = [
    "IN_DOMAIN_ESCALATION_RATE",
    "Observed",
    "RejectionPredictorFit",
    "expected_calibration_error",
    "fit_rejection_predictors",
]

_FEATURES = ("entropy", "log-odds", "log1p(novelty)")
_CALIBRATION_DRAFTERS = ("starter", "free")
"""The drafters whose drafts the weights are fitted on."""
IN_DOMAIN_ESCALATION_RATE = 0.3
"""Share of the calibration speakers' captions that escalate a block at the threshold."""


@dataclass(frozen=True)
class RejectionPredictorFit:
    """The contents of ``gate.json``."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    clip: dict[str, float]
    """Weight and bias of the uncertainty about the clip as a whole."""
    threshold: float
    entropy_threshold: float
    """The threshold at which the entropy baseline escalates as many in-domain captions."""
    calibration_error: float
    """Expected calibration error on in-domain tokens, ten bins of equal size."""


@dataclass(frozen=True)
class Observed:
    """One drafted caption, verified token by token with only its summary disclosed."""

    features: NDArray[np.float64]
    """(T, F)"""
    entropy: NDArray[np.float64]
    """(T,) as a share of ln V."""
    rejected: NDArray[np.bool_]
    """(T,)"""
    log1p_ood_score: float
    emotion_differs: bool
    """Whether the verifier by itself names another emotion than the draft."""


def observe(
    drafter: OnnxDrafter, scorer: OnnxScorer, clips: Sequence[Clip], progress: Progress
) -> list[Observed]:
    """Draft every clip greedily, as a device does for an enrolled speaker, and ask the verifier
    about each token."""
    out = []
    rule, entropy_of = Typical(), EntropyUncertainty()
    embeddings = _enrolled_embeddings(drafter, clips)
    for done, embedding in enumerate(embeddings, 1):
        session = drafter.start(embedding)
        rows, entropies, summary = [], [], session.predict().state
        while not session.tokens or session.tokens[-1] != drafter.info.eos:
            if len(session.tokens) == drafter.info.max_tokens:
                break
            logits = session.predict().logits
            spread = spread_of(logits)
            rows.append([FEATURES[name](spread, embedding.ood_score) for name in _FEATURES])
            entropies.append(entropy_of(logits, embedding.ood_score))
            session.append([int(logits.argmax())])
        tokens = list(session.tokens)
        draft, own = (
            attributes_named(drafter.text(some), "emotion")
            for some in (tokens, decode_with_verifier(scorer, summary))
        )
        out.append(
            Observed(
                np.array(rows),
                np.array(entropies),
                rejections(scorer, summary, tokens, rule),
                log1p(embedding.ood_score),
                draft != own,
            )
        )
        progress("calibrating", done, len(embeddings), "")
    return out


def _enrolled_embeddings(drafter: OnnxDrafter, clips: Sequence[Clip]) -> list[AudioEmbedding]:
    embeddings = [clip_embedding(drafter, clip) for clip in clips]
    profiles = running_profiles(clips, embeddings)
    return [
        drafter.condition(embedding, profile)
        for embedding, profile in zip(embeddings, profiles, strict=True)
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
    own corpora).

    Two logistic regressions over the drafts of the calibration drafters, with in-domain and
    out-of-domain weighted equally: one for the tokens that the verifier rejects, one for the clips
    in which it finds another emotion. Each drafter has its own threshold, from ``clips`` of its own
    corpora alone.
    """
    scorer = OnnxScorer(verifier)
    scorer.load()
    seen: dict[tuple[str, bool], list[Observed]] = {}
    known = {corpus for name in _CALIBRATION_DRAFTERS for corpus in corpora_of[name]}
    for name, own in corpora_of.items():
        drafter = OnnxDrafter(drafters / name)
        drafter.load()
        in_domain = [clip for clip in clips if clip.corpus in own]
        out_of_domain = [clip for clip in clips if clip.corpus in known.difference(own)]
        seen[name, True] = observe(drafter, scorer, in_domain, progress)
        seen[name, False] = (
            observe(drafter, scorer, out_of_domain, progress)
            if name in _CALIBRATION_DRAFTERS
            else []
        )
        drafter.close()
    pools = [
        [o for name in _CALIBRATION_DRAFTERS for o in seen[name, in_domain]]
        for in_domain in (True, False)
    ]
    weights, bias = fit_logistic(
        [np.concatenate([o.features for o in pool]) for pool in pools],
        [np.concatenate([o.rejected for o in pool]) for pool in pools],
    )

    clip_weights, clip_bias = fit_logistic(
        [np.array([[o.log1p_ood_score] for o in pool]) for pool in pools],
        [np.array([o.emotion_differs for o in pool]) for pool in pools],
    )
    clip = {"weight": float(clip_weights[0]), "bias": clip_bias}

    def doubt(o: Observed) -> NDArray[np.float64]:
        clip_doubt = clip["weight"] * o.log1p_ood_score + clip["bias"]
        return _sigmoid(np.maximum(o.features @ weights + bias, clip_doubt))

    def fit(observed: Sequence[Observed]) -> RejectionPredictorFit:
        chance = [_sigmoid(o.features @ weights + bias) for o in observed]
        return RejectionPredictorFit(
            features=_FEATURES,
            weights=tuple(float(w) for w in weights),
            bias=bias,
            clip=clip,
            threshold=_threshold([doubt(o) for o in observed]),
            entropy_threshold=_threshold([o.entropy for o in observed]),
            calibration_error=expected_calibration_error(
                np.concatenate(chance), np.concatenate([o.rejected for o in observed])
            ),
        )

    return {name: fit(seen[name, True]) for name in corpora_of}


def expected_calibration_error(
    chance: NDArray[np.float64], happened: NDArray[np.bool_], bins: int = 10
) -> float:
    """Return the mean distance of predicted and observed frequency over bins of equal size."""
    order = np.array_split(np.argsort(chance), bins)
    gaps = [len(i) * abs(chance[i].mean() - happened[i].mean()) for i in order if len(i)]
    return float(sum(gaps) / len(chance))


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-z))


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


def _threshold(captions: Sequence[NDArray[np.float64]]) -> float:
    """Return the uncertainty that ``IN_DOMAIN_ESCALATION_RATE`` of the captions reach in some
    token."""
    return float(
        np.quantile([caption.max() for caption in captions], 1 - IN_DOMAIN_ESCALATION_RATE)
    )
