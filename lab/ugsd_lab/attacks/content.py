"""Content attacks: drafted attributes that were not sent, and the mel frames behind the states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.findings import Finding, strongest
from ugsd_lab.attacks.learning import CLASSIFIERS, FULL, TrainingBudget, fit_network, ridge
from ugsd_lab.attacks.observations import Observation
from ugsd_lab.attacks.voices import Fold, Voices, named
from ugsd_lab.data.captions import LEXICON, attributes_named
from ugsd_lab.evaluation.intervals import Measure, draws, interval, share_measure

__all__ = ["UNSENT_ATTRIBUTES", "Unsent", "attack_frames", "attack_unsent", "unsent_attributes"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

UNSENT_ATTRIBUTES = "facts drafted, not sent"
"""The measure's name, a value in reports: attributes that were drafted and not sent."""
FRAMES_FROM_STATES = "mel frames"
_ATTRIBUTES = tuple(attribute for attribute in LEXICON if attribute != "gender")
_PENALTIES = (0.03, 0.3, 3.0)


# -- attributes that were drafted and not sent


@dataclass(frozen=True)
class Unsent:
    """The values of one attribute that the drafts state and that were not sent."""

    attribute: str
    values: NDArray[np.str_]
    """(n,) the value that the whole draft names; empty if it names none or if the value was
    sent."""


def unsent_attributes(drafts: Sequence[str], disclosed: Sequence[str]) -> list[Unsent]:
    """Return the unsent values of each attribute. ``drafts`` are whole captions, ``disclosed`` the
    text of the tokens that were sent."""
    found = []
    for attribute in _ATTRIBUTES:
        values = []
        for draft, sent in zip(drafts, disclosed, strict=True):
            named_there = attributes_named(draft, attribute)
            known = named_there & attributes_named(sent, attribute)
            values.append(min(named_there) if len(named_there) == 1 and not known else "")
        found.append(Unsent(attribute, np.array(values)))
    return found


def attack_unsent(
    voices: Voices,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    unsent: Sequence[Unsent],
    *,
    effort: TrainingBudget = FULL,
) -> list[Finding]:
    """Return how often an unsent value is guessed right, over all attributes. ``chance`` is the
    best result of an attacker who sees the disclosed tokens but no state."""
    folds = [fold for fold in folds if len(fold.test)]
    if not folds or all((u.values == "").all() for u in unsent):
        return []
    results = {
        f"{name} on {reading}": _guessed(voices, folds, features, unsent, name, effort)
        for reading, features in seen.readings.items()
        for name in CLASSIFIERS
    }
    if any(not measure.sums[:, 1].sum() for measure in results.values()):
        return []
    blind = [m.value for name, m in results.items() if name.endswith(" on tokens")]
    nothing = np.zeros((len(voices), 1), dtype=np.float32)
    most = _guessed(voices, folds, nothing, unsent, "logistic", effort)
    findings = [
        Finding(
            "content",
            UNSENT_ATTRIBUTES,
            corpus,
            seen.name,
            seen.profile,
            measure.value,
            chance=max([most.value, *blind]),
            attacker=name,
            speakers=len(measure.sums),
            clips=int(measure.sums[:, 1].sum()),
        )
        for name, measure in results.items()
    ]
    found = strongest(findings)
    return [_with_interval(found, results[found.attacker])]


def _guessed(
    voices: Voices,
    folds: Sequence[Fold],
    features: Float32,
    unsent: Sequence[Unsent],
    attacker: str,
    effort: TrainingBudget,
) -> Measure:
    right: list[float] = []
    speakers: list[str] = []
    for fold in folds:
        for attribute in unsent:
            train = fold.train[attribute.values[fold.train] != ""]
            test = fold.test[attribute.values[fold.test] != ""]
            if not len(test) or not len(train):
                continue
            known, values = named(attribute.values[train])
            if len(values) > 1:
                network = fit_network(
                    features[train], known, linear=CLASSIFIERS[attacker], effort=effort
                )
                guessed = np.array(values)[network.classes(features[test])]
            else:
                guessed = np.full(len(test), values[0])
            right += (guessed == attribute.values[test]).astype(float).tolist()
            speakers += voices.speaker[test].tolist()
    return share_measure(speakers, right) if right else Measure(np.zeros((1, 2)), lambda _: np.nan)


def _with_interval(finding: Finding, measure: Measure) -> Finding:
    low, high = interval(measure.redrawn(draws(len(measure.sums))))
    return replace(finding, low=low, high=high)


# -- mel frames


def attack_frames(
    voices: Voices,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    mels: NDArray[np.float16],
    *,
    effort: TrainingBudget = FULL,
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
    results = {
        f"{name} on {reading}": _reconstructed(voices, folds, mels, _from(features, fit))
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
    return [replace(_with_interval(found, measure), permuted=shuffled.value)]


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


_Fit = Callable[[Float32, Float32], Callable[[Float32], Float32]]
"""Maps features and frames to a function from features to frames."""


def _reconstructors(effort: TrainingBudget) -> Mapping[str, _Fit]:
    def linear(penalty: float) -> _Fit:
        def fit(features: Float32, frames: Float32) -> Callable[[Float32], Float32]:
            weights, bias = ridge(features, frames, penalty)
            return lambda rows: rows @ weights + bias

        return fit

    def network(features: Float32, frames: Float32) -> Callable[[Float32], Float32]:
        return fit_network(features, frames, effort=effort).outputs

    return {f"ridge {penalty}": linear(penalty) for penalty in _PENALTIES} | {"network": network}
