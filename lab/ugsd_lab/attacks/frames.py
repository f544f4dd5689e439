"""Content attack: the mel frames behind the states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ugsd_lab.attacks.findings import Finding, strongest, with_interval
from ugsd_lab.attacks.learning import FULL, TrainingBudget, fit_network, ridge
from ugsd_lab.attacks.observations import Observation, Tried
from ugsd_lab.attacks.voices import Fold, Voices
from ugsd_lab.evaluation.intervals import Measure, share_measure

__all__ = ["attack_frames"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FRAMES_FROM_STATES = "mel frames"
_PENALTIES = (0.03, 0.3, 3.0)
_COMPONENTS = 64


def attack_frames(
    voices: Voices,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    mels: NDArray[np.float16],
    *,
    effort: TrainingBudget = FULL,
    tried: Tried | None = None,
) -> list[Finding]:
    """Return the mean correlation of a clip's mel frames with those reconstructed from what was
    seen, both relative to the mean frames of the clip's corpus.

    ``chance`` is what the mean frames of the clip's emotion in its corpus reach: a caption names
    the emotion, so an attacker who does no better learnt nothing else. ``permuted`` is the
    correlation with the frames of other clips of the corpus.
    """
    folds = [fold for fold in folds if len(fold.test)]
    if not folds:
        return []
    tried = tried or Tried()
    results = {
        f"{name} on {reading}": tried.result(
            seen,
            reading,
            (FRAMES_FROM_STATES, corpus, name),
            partial(_reconstructed, voices, folds, mels, _from(features, fit)),
        )
        for reading, features in seen.readings.items()
        for name, fit in _reconstructors(effort).items()
    }
    by_emotion, _ = _reconstructed(voices, folds, mels, partial(_mean_by_emotion, voices))
    found = strongest(
        Finding(
            "content",
            FRAMES_FROM_STATES,
            corpus,
            seen.name,
            seen.profile,
            measure.value,
            chance=by_emotion.value,
            attacker=name,
            speakers=len(measure.sums),
            clips=sum(len(fold.test) for fold in folds),
        )
        for name, (measure, _) in results.items()
    )
    measure, shuffled = results[found.attacker]
    return [replace(with_interval(found, measure), permuted=shuffled.value)]


_Guess = Callable[[Fold, Float32], Float32]
"""Maps a fold and the (n, F) frames of its training rows to the frames of its test rows."""


def _reconstructed(
    voices: Voices, folds: Sequence[Fold], mels: NDArray[np.float16], guess: _Guess
) -> tuple[Measure, Measure]:
    """Return the correlations with the clips' own frames, and with those of others in the same
    corpus."""
    own, others, speakers = [], [], []
    for fold in folds:
        known = mels[fold.train].astype(np.float32)
        same = voices.corpus[fold.train] == voices.corpus[fold.test[0]]
        mean = known[same].mean(axis=0) if same.any() else known.mean(axis=0)
        guessed = guess(fold, known) - mean
        right = mels[fold.test].astype(np.float32) - mean
        own += _correlations(guessed, right).tolist()
        others += _correlations(guessed, np.random.default_rng(0).permutation(right)).tolist()
        speakers += voices.speaker[fold.test].tolist()
    return share_measure(speakers, own), share_measure(speakers, others)


def _correlations(left: Float32, right: Float32) -> Float64:
    """Return (n,) Pearson correlations, row by row; 0 if a row does not vary."""
    left, right = (x - x.mean(axis=1, keepdims=True) for x in (left, right))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1).astype(np.float64)
    zero = np.zeros_like(products)
    correlations: Float64 = np.divide(products, norms, out=zero, where=norms > 1e-9)
    return correlations


def _mean_by_emotion(voices: Voices, fold: Fold, known: Float32) -> Float32:
    """Return the mean frames of the test clips' own emotions in their corpus, assuming that the
    attacker knows the emotions. Falls back to the mean of the corpus, or else of all clips."""
    same = voices.corpus[fold.train] == voices.corpus[fold.test[0]]
    near = known[same] if same.any() else known
    emotions = voices.emotion[fold.train][same] if same.any() else voices.emotion[fold.train]
    by_emotion = {name: near[emotions == name].mean(axis=0) for name in set(emotions.tolist())}
    mean = near.mean(axis=0)
    return np.stack([by_emotion.get(name, mean) for name in voices.emotion[fold.test].tolist()])


def _from(features: Float32, fit: _Fit) -> _Guess:
    return lambda fold, known: fit(features[fold.train], known)(features[fold.test])


def _principal(frames: Float32) -> tuple[Float32, Float32]:
    """Return the mean (F,) of (n, F) frames and a basis (F, d) of their leading components, on
    which a network learns sooner than on the frames themselves."""
    mean = frames.mean(axis=0)
    _, _, basis = torch.pca_lowrank(
        torch.from_numpy(frames - mean), min(_COMPONENTS, *frames.shape), center=False, niter=2
    )
    return mean, basis.numpy()


_Fit = Callable[[Float32, Float32], Callable[[Float32], Float32]]
"""Maps features and frames to a function from features to frames."""


def _reconstructors(effort: TrainingBudget) -> Mapping[str, _Fit]:
    def linear(penalty: float) -> _Fit:
        def fit(features: Float32, frames: Float32) -> Callable[[Float32], Float32]:
            weights, bias = ridge(features, frames, penalty)
            return lambda rows: rows @ weights + bias

        return fit

    def network(features: Float32, frames: Float32) -> Callable[[Float32], Float32]:
        mean, basis = _principal(frames)
        targets: Float32 = ((frames - mean) @ basis).astype(np.float32)
        reduced = fit_network(features, targets, effort=effort)
        return lambda rows: reduced.outputs(rows) @ basis.T + mean

    return {f"ridge {penalty}": linear(penalty) for penalty in _PENALTIES} | {"network": network}
