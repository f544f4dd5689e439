"""Calibrates the emotion: how far its probabilities are spread, by how unusual the clip is.

A reader is too sure of clips that it was not trained on. Its scores are divided by a temperature
(Guo et al. 2017) that grows with the OOD score. The growth is fitted for all drafters together, on
calibration speakers of corpora that they know and of corpora that they do not; the level is each
drafter's own, from the speakers of its own corpora.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.models.export import OodScore
from ugsd_lab.models.networks import EmotionReader
from ugsd_lab.training.corpus import Corpus
from ugsd_lab.training.profiles import running_profiles

__all__ = ["CalibratedDrafter", "EmotionTemperature", "fit_temperatures"]

_RIDGE = 1e-3


@dataclass(frozen=True)
class EmotionTemperature:
    """The temperature exp(level + slope * log1p(OOD score))."""

    level: float = 0.0
    slope: float = 0.0


@dataclass(frozen=True)
class CalibratedDrafter:
    """What is calibrated of a drafter."""

    reader: EmotionReader
    ood_score: OodScore
    corpora: Sequence[str]
    """The corpora that it was trained on."""


@dataclass(frozen=True)
class _Observed:
    scores: Tensor
    """(n, emotions)"""
    log1p_ood: Tensor
    """(n,)"""
    emotion: Tensor
    """(n,)"""


def fit_temperatures(
    corpus: Corpus, drafters: Mapping[str, CalibratedDrafter], fitted_on: Sequence[str]
) -> dict[str, EmotionTemperature]:
    """Return the temperature of each drafter. ``fitted_on`` names those that the growth is fitted
    on; half of the clips are read with the running speaker profile and half without."""
    known = {name for one in fitted_on for name in drafters[one].corpora}
    in_domain = {name: _observed(corpus, one, one.corpora) for name, one in drafters.items()}
    out_of_domain = [
        _observed(corpus, drafters[name], sorted(known.difference(drafters[name].corpora)))
        for name in fitted_on
        if known.difference(drafters[name].corpora)
    ]
    pools = [_joined([in_domain[name] for name in fitted_on])]
    if out_of_domain:
        pools.append(_joined(out_of_domain))
    slope = max(0.0, _fitted(pools)[1]) if out_of_domain else 0.0
    return {
        name: EmotionTemperature(_fitted([seen], slope=slope)[0], slope)
        for name, seen in in_domain.items()
    }


def _observed(corpus: Corpus, drafter: CalibratedDrafter, corpora: Sequence[str]) -> _Observed:
    rows = corpus.rows(corpora, "calibration")
    clips = [corpus.clips[row] for row in rows]
    embeddings = corpus.clean_embeddings[rows]
    profiles = running_profiles(clips, embeddings)
    mean = np.stack([p.mean if p.count else np.zeros_like(embeddings[0]) for p in profiles])
    weights = np.array([p.weight for p in profiles], dtype=np.float32)
    drafter.reader.eval()
    emotion = torch.tensor([EMOTIONS.index(str(clip.emotion)) for clip in clips])
    ood = torch.from_numpy(np.log1p(drafter.ood_score(embeddings)).astype(np.float32))
    seen = []
    for some in (weights, np.zeros_like(weights)):
        with torch.inference_mode():
            reading = drafter.reader(*map(torch.from_numpy, (embeddings, mean, some)))
        seen.append(_Observed(reading.emotion.mean(1).log_softmax(-1), ood, emotion))
    return _joined(seen)


def _joined(several: Sequence[_Observed]) -> _Observed:
    return _Observed(
        torch.cat([one.scores for one in several]).clone(),
        torch.cat([one.log1p_ood for one in several]),
        torch.cat([one.emotion for one in several]),
    )


def _fitted(pools: Sequence[_Observed], *, slope: float | None = None) -> tuple[float, float]:
    """Return level and slope with the least loss over ``pools``, which count equally."""
    parameters = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def used_slope() -> Tensor:
        return parameters[1] if slope is None else torch.tensor(slope)

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = [
            functional.cross_entropy(
                one.scores / (parameters[0] + used_slope() * one.log1p_ood).exp()[:, None],
                one.emotion,
            )
            for one in pools
        ]
        loss = torch.stack(losses).mean() + _RIDGE * (parameters**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    level, grown = (float(value) for value in parameters.detach())
    return level, grown if slope is None else slope
