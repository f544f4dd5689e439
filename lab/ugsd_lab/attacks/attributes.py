"""Attribute attacks: gender, age, language and sentence of speakers that the attacker never met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.findings import Finding, strongest
from ugsd_lab.attacks.learning import CLASSIFIERS, FULL, TrainingBudget, fit_network
from ugsd_lab.attacks.observations import Observation, Tried
from ugsd_lab.attacks.voices import Fold, Voices, named
from ugsd_lab.evaluation.intervals import Measure, draws, interval

__all__ = ["AGES", "ATTRIBUTES", "LANGUAGE", "attack_attribute", "balanced_accuracy", "labels_of"]

Float64 = NDArray[np.float64]

LANGUAGE = "language"
ATTRIBUTES = ("gender", "age group", LANGUAGE, "sentence")

AGES: Mapping[str, int] = MappingProxyType(
    {
        "emodb/03": 31, "emodb/08": 34, "emodb/09": 21, "emodb/10": 32, "emodb/11": 26,
        "emodb/12": 30, "emodb/13": 32, "emodb/14": 35, "emodb/15": 25, "emodb/16": 31,
        "nemo/EB0": 27, "nemo/IC0": 28, "nemo/KD0": 28, "nemo/KS0": 23, "nemo/MK0": 23,
        "nemo/MP0": 24, "nemo/SM0": 24, "nemo/TP0": 26, "nemo/WR0": 23,
    }
)  # fmt: skip
"""Ages in years, as EMO-DB and nEMO publish them; the other corpora publish none."""
_OLDER = 27
"""The lowest age, in years, of the older group. It holds nearly all of nEMO's women and none of its
men, so in nEMO gender reveals much of the age group."""


def labels_of(voices: Voices, attribute: str) -> NDArray[np.str_]:
    """Return the (n,) values of one of :data:`ATTRIBUTES`; empty if the corpus does not give it."""
    match attribute:
        case "gender":
            return voices.gender
        case "language":
            return np.array([clip.language for clip in voices.clips])
        case "sentence":
            named_sentence = np.char.add(np.char.add(voices.corpus, ": "), voices.sentence)
            return np.where(voices.sentence == "", "", named_sentence)
    ages = np.array([AGES.get(speaker, 0) for speaker in voices.speaker.tolist()])
    return np.where(ages == 0, "", np.where(ages < _OLDER, "younger", "older"))


def attack_attribute(
    voices: Voices,
    attribute: str,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    *,
    effort: TrainingBudget = FULL,
    control: bool = True,
    tried: Tried | None = None,
) -> list[Finding]:
    """Return the strongest attacker's balanced accuracy, or nothing if there are fewer than two
    values.

    The sentence is one of those in the corpus, learnt from its other speakers. ``control`` also
    runs that attacker on permuted labels.
    """
    labels = labels_of(voices, attribute)
    folds = [_with_labels(fold, labels) for fold in folds]
    if attribute == "sentence":
        folds = [replace(f, train=f.train[voices.corpus[f.train] == corpus]) for f in folds]
    usable = [f for f in folds if len(f.test) and len(set(labels[f.train].tolist())) > 1]
    if not usable or len({x for f in usable for x in labels[f.test].tolist()}) < 2:
        return []
    values, _ = named(np.concatenate([labels[fold.train] for fold in usable]))
    classes = len(set(values.tolist()))
    tried = tried or Tried()

    def attempt(reading: str, name: str, *, permuted: bool = False) -> Measure:
        features = seen.readings[reading]
        run = partial(_attempt, voices, labels, usable, features, name, effort, permuted=permuted)
        return tried.result(seen, reading, (attribute, corpus, name, str(permuted)), run)

    results: dict[str, tuple[Measure, str, str]] = {
        f"{name} on {reading}": (attempt(reading, name), name, reading)
        for reading in seen.readings
        for name in CLASSIFIERS
    }
    found = strongest(
        Finding(
            "attribute",
            attribute,
            corpus,
            seen.name,
            seen.profile,
            measure.value,
            chance=1 / classes,
            attacker=attacker,
            speakers=len(measure.sums),
            clips=sum(len(fold.test) for fold in usable),
        )
        for attacker, (measure, *_) in results.items()
    )
    measure, name, reading = results[found.attacker]
    low, high = interval(measure.redrawn(draws(len(measure.sums))))
    if not control:
        return [replace(found, low=low, high=high)]
    permuted = attempt(reading, name, permuted=True)
    return [replace(found, low=low, high=high, permuted=permuted.value)]


def _with_labels(fold: Fold, labels: NDArray[np.str_]) -> Fold:
    """Keep the rows whose label is known."""
    return Fold(fold.train[labels[fold.train] != ""], fold.test[labels[fold.test] != ""])


def _attempt(
    voices: Voices,
    labels: NDArray[np.str_],
    folds: Sequence[Fold],
    features: NDArray[np.float32],
    attacker: str,
    effort: TrainingBudget,
    *,
    permuted: bool = False,
) -> Measure:
    guessed, right, speakers = [], [], []
    for fold in folds:
        known, values = named(labels[fold.train])
        if permuted:
            known = np.random.default_rng(effort.seed).permutation(known)
        shares = 1 / np.bincount(known)[known]
        network = fit_network(
            features[fold.train], known, weights=shares, linear=CLASSIFIERS[attacker],
            effort=effort,
        )  # fmt: skip
        guessed += [values[i] for i in network.classes(features[fold.test])]
        right += labels[fold.test].tolist()
        speakers += voices.speaker[fold.test].tolist()
    return balanced_accuracy(speakers, right, guessed)


def balanced_accuracy(
    speakers: Sequence[str], right: Sequence[str], guessed: Sequence[str]
) -> Measure:
    """Return the mean, over values, of the share of a value's clips that are guessed right.
    Guessing without any observation reaches 1 / values, whatever the values' shares."""
    who, speaker_names = named(np.array(speakers))
    value, values = named(np.array(right))
    right_guesses, clips = (np.zeros((len(speaker_names), len(values))) for _ in range(2))
    np.add.at(right_guesses, (who, value), np.array(guessed) == np.array(right))
    np.add.at(clips, (who, value), 1)

    def mean(sums: Float64) -> float:
        hits, counts = np.split(sums, 2)
        return float((hits[counts > 0] / counts[counts > 0]).mean())

    return Measure(np.hstack([right_guesses, clips]), mean)
