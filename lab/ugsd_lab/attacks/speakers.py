"""Speaker attacks: do two captions come from one user, and which known user does a caption come
from?

Speakers known to the states' training or to the attacker are not attacked. The attacker centres
what it sees on the speakers under attack, as anyone can who sees many captions; it labels none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isnan
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.findings import Finding, strongest
from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.observations import Observation, Tried
from ugsd_lab.attacks.scores import FALSE_POSITIVES, Trials, bounds, measured, ranks_of
from ugsd_lab.attacks.speaker_attackers import ATTACKERS, Comparison, unit
from ugsd_lab.attacks.voices import Fold, Voices, named
from ugsd_lab.evaluation.intervals import draws, interval

__all__ = ["attack_speakers"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ENROLMENT = 10
"""Captions of a speaker whom the attacker knows by name, and captions in a set."""
_RANDOM_DRAWS = 4
"""How often they are drawn."""
IDENTIFICATION = "identification"
LINKAGE, SAME_GENDER = "EER", "EER, same gender"
ENROLLED, SETS = "EER, enrolled", "EER, sets"
LINKED = "TPR at 1 % FPR"
"""The measures: see :func:`attack_speakers`."""
_PERMUTED = "permuted"


def attack_speakers(
    voices: Voices,
    corpus: str,
    folds: Sequence[Fold],
    seen: Observation,
    *,
    attackers: Collection[str] = tuple(ATTACKERS),
    only: Collection[str] | None = None,
    effort: TrainingBudget = FULL,
    tried: Tried | None = None,
) -> list[Finding]:
    """Return the strongest attacker's result over all readings of the observation, for each
    measure.

    ``identification``: which of the S speakers of a fold, with ten captions of each known; the mean
    over speakers. ``EER``: whether two captions are of one speaker; over all pairs, over pairs of
    one gender, of one caption against the mean of ten known ones, and of two sets of ten captions.
    Measures without trials are left out: a woman and a man have no pair of one gender.
    """
    wanted = [name for name in (IDENTIFICATION, *_FROM) if only is None or name in only]
    tried = tried or Tried()
    attempts = {
        f"{name} on {reading}": tried.result(
            seen,
            reading,
            ("speaker", corpus, name),
            partial(_attempt, voices, folds, features, name, effort, wanted),
        )
        for reading, features in seen.readings.items()
        for name in attackers
    }
    if not folds:
        return []
    found = [_finding(measure, corpus, seen, attempts) for measure in wanted]
    return [finding for finding in found if not isnan(finding.value)]


_FROM: Mapping[str, str] = MappingProxyType(
    {name: name for name in (LINKAGE, SAME_GENDER, ENROLLED, SETS)} | {LINKED: LINKAGE}
)
"""Measure -> the trials that it is computed from."""


@dataclass
class _Attempt:
    """The results of one attacker in every fold."""

    right: list[Float64] = field(default_factory=list)
    """(S,) for each fold: how often each speaker is identified."""
    permuted: list[Float64] = field(default_factory=list)
    trials: dict[str, list[Trials]] = field(default_factory=dict)
    clips: int = 0

    def value(self, measure: str) -> float:
        if measure == IDENTIFICATION:
            return float(np.concatenate(self.right).mean())
        trials = self.trials.get(_FROM[measure])
        return measured(trials, _kind(measure)) if trials else float("nan")

    def permuted_value(self, measure: str) -> float:
        if measure == IDENTIFICATION:
            return float(np.concatenate(self.permuted).mean())
        if _FROM[measure] != LINKAGE:
            return float("nan")
        return measured(self.trials[_PERMUTED], _kind(measure))

    def bounds(self, measure: str) -> tuple[float, float]:
        """Return the 95 % interval."""
        if measure == IDENTIFICATION:
            right = np.concatenate(self.right)
            return interval(draws(len(right)) @ right / len(right))
        return bounds(self.trials[_FROM[measure]], _kind(measure))


def _kind(measure: str) -> Literal["EER", "TPR"]:
    return "TPR" if measure == LINKED else "EER"


def _finding(
    measure: str, corpus: str, seen: Observation, attempts: Mapping[str, _Attempt]
) -> Finding:
    """Return the finding of the strongest attempt."""
    some = next(iter(attempts.values()))
    chance = {
        IDENTIFICATION: float(np.mean([1 / len(r) for r in some.right for _ in r])),
        LINKED: FALSE_POSITIVES,
    }.get(measure, 0.5)
    findings = [
        Finding(
            "speaker",
            measure,
            corpus,
            seen.name,
            seen.profile,
            attempt.value(measure),
            chance=chance,
            attacker=name,
            speakers=sum(map(len, attempt.right)),
            clips=attempt.clips,
            lower_is_stronger=_kind(measure) == "EER" and measure != IDENTIFICATION,
        )
        for name, attempt in attempts.items()
    ]
    found = strongest(findings)
    attempt = attempts[found.attacker]
    if isnan(found.value):
        return found
    low, high = attempt.bounds(measure)
    return replace(found, low=low, high=high, permuted=attempt.permuted_value(measure))


def _attempt(
    voices: Voices,
    folds: Sequence[Fold],
    features: NDArray[np.float32],
    name: str,
    effort: TrainingBudget,
    wanted: Collection[str],
) -> _Attempt:
    attempt = _Attempt()
    for fold in folds:
        known, _ = named(voices.speaker[fold.train])
        comparison = ATTACKERS[name](features[fold.train], known, effort)
        embedded = comparison.embed(features[fold.test])
        embedded = embedded - embedded.mean(axis=0)
        speakers, _ = named(voices.speaker[fold.test])
        genders, _ = named(voices.gender[fold.test])
        rng = np.random.default_rng(effort.seed)
        shuffled = rng.permutation(speakers)
        attempt.clips += len(speakers)
        attempt.right.append(_identified(comparison, embedded, speakers, rng))
        attempt.permuted.append(_identified(comparison, embedded, shuffled, rng))
        if set(wanted) != {IDENTIFICATION}:
            _add_trials(attempt, comparison, embedded, speakers, shuffled, genders, rng)
    return attempt


def _add_trials(
    attempt: _Attempt,
    comparison: Comparison,
    embedded: Float64,
    speakers: Int64,
    shuffled: Int64,
    genders: Int64,
    rng: np.random.Generator,
) -> None:
    """Add one attacker's scores of the pairs of one fold's clips."""
    count = int(speakers.max()) + 1
    left, right = np.triu_indices(len(speakers), 1)
    scores = comparison.score(embedded, embedded)[left, right]
    alike = genders[left] == genders[right]
    enrolled = _enrolled(comparison, embedded, speakers, rng)
    sets = _sets(comparison, embedded, speakers, rng)
    ranks = ranks_of(scores) if len(scores) else np.zeros(0, dtype=np.int64)
    for measure, trials in {
        LINKAGE: (ranks, speakers[left], speakers[right]),
        SAME_GENDER: (ranks[alike], speakers[left][alike], speakers[right][alike]),
        _PERMUTED: (ranks, shuffled[left], shuffled[right]),
        ENROLLED: _ranked(enrolled),
        SETS: _ranked(sets),
    }.items():
        if len(trials[0]):
            counted = Trials.of_ranks(*trials, speakers=count)
            attempt.trials.setdefault(measure, []).append(counted)


_Scored = tuple[Float64, Int64, Int64]


def _ranked(scored: _Scored) -> tuple[Int64, Int64, Int64]:
    scores, left, right = scored
    return ranks_of(scores) if len(scores) else left, left, right


def _enrolments(
    embedded: Float64, speakers: Int64, rng: np.random.Generator
) -> Iterator[tuple[Float64, Int64]]:
    """Yield means of ten clips (S, e), fewer if a speaker has few, and the rows of the other
    clips."""
    for _ in range(_RANDOM_DRAWS):
        means, others = [], []
        for speaker in range(int(speakers.max()) + 1):
            own = rng.permutation(np.flatnonzero(speakers == speaker))
            known = min(ENROLMENT, len(own) // 2)
            means.append(embedded[own[:known]].mean(axis=0))
            others.append(own[known:])
        yield np.stack(means), np.concatenate(others)


def _identified(
    comparison: Comparison, embedded: Float64, speakers: Int64, rng: np.random.Generator
) -> Float64:
    """Return the (S,) share of each speaker's clips that are attributed to them."""
    count = int(speakers.max()) + 1
    hits, all_of = np.zeros(count), np.zeros(count)
    for means, rows in _enrolments(embedded, speakers, rng):
        guessed = comparison.score(means, embedded[rows], of_left=ENROLMENT).argmax(axis=0)
        np.add.at(hits, speakers[rows], guessed == speakers[rows])
        np.add.at(all_of, speakers[rows], 1)
    return hits / all_of


def _enrolled(
    comparison: Comparison, embedded: Float64, speakers: Int64, rng: np.random.Generator
) -> _Scored:
    parts = []
    for means, rows in _enrolments(embedded, speakers, rng):
        scores = comparison.score(means, embedded[rows], of_left=ENROLMENT)
        known = np.repeat(np.arange(len(means)), len(rows))
        parts.append((scores.reshape(-1), known, np.tile(speakers[rows], len(means))))
    return _joined(parts)


def _sets(
    comparison: Comparison, embedded: Float64, speakers: Int64, rng: np.random.Generator
) -> _Scored:
    """Score pairs of disjoint sets of ten captions: the sum of two standardised scores, one of
    their means, one of their means and standard deviations."""
    parts = []
    for _ in range(_RANDOM_DRAWS):
        means, spreads, owners = [], [], []
        for speaker in range(int(speakers.max()) + 1):
            own = rng.permutation(np.flatnonzero(speakers == speaker))
            for start in range(0, len(own) - ENROLMENT + 1, ENROLMENT):
                some = embedded[own[start : start + ENROLMENT]]
                means.append(some.mean(axis=0))
                spreads.append(np.concatenate([some.mean(axis=0), some.std(axis=0)]))
                owners.append(speaker)
        left, right = np.triu_indices(len(owners), 1)
        if not len(left):
            continue
        both = unit(_standardised(np.stack(spreads)))
        by_mean = comparison.score(np.stack(means), np.stack(means), ENROLMENT, ENROLMENT)
        scores = _standardised(by_mean[left, right]) + _standardised((both @ both.T)[left, right])
        owner = np.array(owners)
        parts.append((scores, owner[left], owner[right]))
    return _joined(parts)


def _standardised(values: Float64) -> Float64:
    scaled: Float64 = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
    return scaled


def _joined(parts: Sequence[_Scored]) -> _Scored:
    if not parts:
        return np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    scores, left, right = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(left), np.concatenate(right)
