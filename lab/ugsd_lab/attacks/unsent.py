"""What captions say and questions do not: an attacker guesses it from what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.attributes.slots import Slot

from ugsd_lab.attacks.findings import Finding, strongest, with_interval
from ugsd_lab.attacks.learning import CLASSIFIERS, FULL, TrainingBudget, fit_questions
from ugsd_lab.attacks.observations import Observation, Tried
from ugsd_lab.attacks.voices import Fold, Voices, named
from ugsd_lab.evaluation.intervals import Measure, share_measure

__all__ = ["UNSENT_ATTRIBUTES", "Unsent", "attack_unsent", "unsent_attributes"]

Float32 = NDArray[np.float32]

UNSENT_ATTRIBUTES = "facts drafted, not sent"
"""The measure's name, a value in reports: what the caption says and the question does not. With a
colon and an attribute it is about that attribute alone."""


@dataclass(frozen=True)
class Unsent:
    """The values of one attribute that captions say and that were not sent."""

    attribute: str
    values: NDArray[np.str_]
    """(n,) the value that the caption says; empty if it says none or if the value was sent."""


def unsent_attributes(
    said: Sequence[Mapping[Slot, str]], sent: Sequence[Mapping[Slot, str]]
) -> list[Unsent]:
    """Return the unsent values of each attribute, from what whole captions say and from what was
    sent of them. Attributes of which nothing is unsent are left out."""
    found = []
    for slot in Slot:
        values = [
            "" if slot in known else own.get(slot, "")
            for own, known in zip(said, sent, strict=True)
        ]
        if any(values):
            found.append(Unsent(str(slot), np.array(values)))
    return found


def attack_unsent(
    voices: Voices,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    unsent: Sequence[Unsent],
    sent: NDArray[np.str_],
    *,
    effort: TrainingBudget = FULL,
    tried: Tried | None = None,
) -> list[Finding]:
    """Return how often an unsent value is guessed right, over all attributes and of each one.

    ``chance`` is what a guesser reaches who knows of each caption the emotion that was ``sent``
    (n,), empty if none was, and learns from the same speakers which values go with it.
    """
    folds = [fold for fold in folds if len(fold.test)]
    if not folds or not unsent:
        return []
    tried = tried or Tried()
    attempts = {
        f"{name} on {reading}": tried.result(
            seen,
            reading,
            (UNSENT_ATTRIBUTES, seen.profile, corpus, name),
            partial(_guessed, voices, folds, features, unsent, name, effort),
        )
        for reading, features in seen.readings.items()
        for name in CLASSIFIERS
    }
    emotions, names = named(sent)
    known = np.eye(len(names), dtype=np.float32)[emotions]
    guesses = [
        _guessed(voices, folds, features, unsent, "logistic", effort)
        for features in (np.zeros_like(known), known)
    ]
    findings = []
    for measure, attributes in {
        UNSENT_ATTRIBUTES: [one.attribute for one in unsent],
        **{f"{UNSENT_ATTRIBUTES}: {one.attribute}": [one.attribute] for one in unsent},
    }.items():
        results = {name: _share_of(right, attributes) for name, right in attempts.items()}
        chances = [_share_of(right, attributes) for right in guesses]
        if any(one is None for one in (*results.values(), *chances)):
            continue
        findings.append(
            _unsent_finding(
                measure, corpus, seen,
                {name: one for name, one in results.items() if one is not None},
                max(one.value for one in chances if one is not None),
            )
        )  # fmt: skip
    return findings


def _unsent_finding(
    measure: str, corpus: str, seen: Observation, results: Mapping[str, Measure], chance: float
) -> Finding:
    found = strongest(
        Finding(
            "content",
            measure,
            corpus,
            seen.name,
            seen.profile,
            result.value,
            chance=chance,
            attacker=name,
            speakers=len(result.sums),
            clips=int(result.sums[:, 1].sum()),
        )
        for name, result in results.items()
    )
    return with_interval(found, results[found.attacker])


_Right = Mapping[str, tuple[Sequence[str], Sequence[float]]]
"""Attribute -> the speakers of the attacked clips, and whether each guess is right."""


def _guessed(
    voices: Voices,
    folds: Sequence[Fold],
    features: Float32,
    unsent: Sequence[Unsent],
    attacker: str,
    effort: TrainingBudget,
) -> _Right:
    speakers: dict[str, list[str]] = {one.attribute: [] for one in unsent}
    right: dict[str, list[float]] = {one.attribute: [] for one in unsent}
    values = np.stack([one.values for one in unsent], axis=1)  # (n, q)
    for fold in folds:
        train = fold.train[(values[fold.train] != "").any(axis=1)]
        test = fold.test[(values[fold.test] != "").any(axis=1)]
        if not len(test) or not len(train):
            continue
        answers, names = _numbered(values[train])
        answer = fit_questions(
            features[train], answers, linear=CLASSIFIERS[attacker], effort=effort
        )
        guesses = answer(features[test])
        for column, one in enumerate(unsent):
            rows = np.flatnonzero(one.values[test] != "")
            if not names[column]:
                continue
            guessed = np.array(names[column])[guesses[rows, column]]
            right[one.attribute] += (guessed == one.values[test][rows]).astype(float).tolist()
            speakers[one.attribute] += voices.speaker[test][rows].tolist()
    return {name: (speakers[name], right[name]) for name in right}


def _numbered(values: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Return the number of each of (n, q) values among those of its column, -1 for an empty one,
    and the values of each column."""
    numbers = np.full(values.shape, -1, dtype=np.int64)
    names = []
    for column, some in enumerate(values.T):
        rows = np.flatnonzero(some != "")
        numbers[rows, column], known = named(some[rows])
        names.append(known)
    return numbers, names


def _share_of(right: _Right, attributes: Sequence[str]) -> Measure | None:
    """Return the share of right guesses of some attributes; ``None`` if there was none to make."""
    speakers = [speaker for name in attributes for speaker in right[name][0]]
    hits = [hit for name in attributes for hit in right[name][1]]
    return share_measure(speakers, hits) if hits else None
