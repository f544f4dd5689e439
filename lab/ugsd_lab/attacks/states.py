"""Compares ways of making states by their utility and their leakage.

Utility is how often a network that reads states, trained on every corpus, names the right emotion
of dev and calibration speakers. Leakage is how far attackers get from chance when they guess the
speaker and the sentence: on corpora that the projection was not fitted on, of all speakers but the
test speakers; on the corpora that it was fitted on, of dev and calibration speakers. Test speakers
are left out, because choices are made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.attributes import attack_attribute
from ugsd_lab.attacks.candidates import SCORES_ONLY, Candidate, Material, epsilon
from ugsd_lab.attacks.findings import Finding
from ugsd_lab.attacks.learning import FULL, TrainingBudget, fit_network
from ugsd_lab.attacks.observations import Observation
from ugsd_lab.attacks.speakers import IDENTIFICATION, attack_speakers
from ugsd_lab.attacks.voices import Fold, Voices, named, open_folds
from ugsd_lab.models.embeddings import Progress

__all__ = ["Row", "as_json", "measure_all", "pareto", "pick", "picks"]

Float32 = NDArray[np.float32]

_ALLOWED_LOSS = 0.03
"""Emotion accuracy that may be lost against the best candidate for less leakage."""
_SPEAKER_ATTACKERS = ("WCCN", "LDA")
"""The fast ones; `ugsd-lab attack` tries all of them on the shipped states."""


@dataclass(frozen=True)
class Row:
    """The measurements of one candidate."""

    candidate: Candidate
    utility: Mapping[str, float]
    """Emotion accuracy by corpus."""
    speaker: float
    """Advantage of the strongest attacker who identifies speakers, mean over corpora, 0 to 1."""
    sentence: float
    """The same for guessing the sentence."""
    at_once: float
    """Advantage of an attacker who identifies speakers by captions made with one profile."""
    bytes: int
    """Bytes of the states of a caption."""
    epsilon: float

    @property
    def emotion(self) -> float:
        """Mean emotion accuracy over corpora."""
        return float(np.mean(list(self.utility.values())))

    @property
    def leakage(self) -> float:
        """Mean of speaker and sentence advantage."""
        return (self.speaker + self.sentence) / 2


def measure_all(
    material: Material,
    some: Sequence[Candidate],
    progress: Progress,
    *,
    effort: TrainingBudget = FULL,
) -> list[Row]:
    """Measure each candidate's utility and leakage."""
    rows = []
    for done, one in enumerate(some, 1):
        rows.append(_measure(material, one, effort))
        progress("frontier", done, len(some), str(one))
    return rows


def _measure(material: Material, one: Candidate, effort: TrainingBudget) -> Row:
    voices = material.voices
    states = material.states(one, effort=effort)
    linked = states
    if one.subtracts_profile:
        linked = material.states(one, one_profile=True, effort=effort)
    known = material.known_corpora(one)
    folds = {
        name: some
        for name in voices.corpora
        if (some := open_folds(voices, name, is_known=name in known))
    }
    dim = states.shape[1]
    return Row(
        one,
        _emotion_accuracy(material, states, one, effort),
        _speaker(voices, folds, states, effort, _SPEAKER_ATTACKERS),
        _sentence(voices, folds, states, effort),
        _speaker(voices, folds, linked, effort, _SPEAKER_ATTACKERS),
        -(-dim * one.bits // 8),
        epsilon(one.sigma),
    )


def _speaker(
    voices: Voices,
    folds: Mapping[str, Sequence[Fold]],
    states: Float32,
    effort: TrainingBudget,
    attackers: Sequence[str],
) -> float:
    seen = Observation("states", "", {"states": states})
    return _mean_advantage(
        attack_speakers(
            voices, name, some, seen, attackers=attackers, effort=effort, only=(IDENTIFICATION,)
        )
        for name, some in folds.items()
    )


def _sentence(
    voices: Voices, folds: Mapping[str, Sequence[Fold]], states: Float32, effort: TrainingBudget
) -> float:
    seen = Observation("states", "", {"states": states})
    return _mean_advantage(
        attack_attribute(voices, "sentence", name, some, seen, effort=effort, control=False)
        for name, some in folds.items()
    )


def _mean_advantage(found: Iterable[Sequence[Finding]]) -> float:
    return float(np.mean([max(0.0, one.advantage) for some in found for one in some]))


def _emotion_accuracy(
    material: Material, states: Float32, one: Candidate, effort: TrainingBudget
) -> dict[str, float]:
    """Return the accuracy, by corpus, of a network trained on the states of every corpus. If states
    have scores, half of the training states hide them: the drafter is surer of clips that it was
    trained on than of any that it will meet."""
    voices = material.voices
    emotions, _ = named(voices.emotion)
    train = np.flatnonzero((voices.split == "train") & (voices.emotion != ""))
    shown = states.copy()
    if one.scores and one.kind != SCORES_ONLY:
        rng = np.random.default_rng(effort.seed)
        hidden = rng.permutation(train)[: len(train) // 2]
        shown[hidden, -material.scores.shape[1] :] = 0
    names, numbers = np.unique(voices.corpus[train], return_inverse=True)
    weights = 1 / np.bincount(numbers)[numbers]
    held = np.isin(voices.split, ["dev", "calibration"]) & (voices.emotion != "")
    right: dict[str, list[float]] = {name: [] for name in names.tolist()}
    for seed in range(2):
        trial = TrainingBudget(effort.steps, effort.seed + seed)
        network = fit_network(shown[train], emotions[train], weights=weights, effort=trial)
        guessed = network.classes(states)
        for name, shares in right.items():
            rows = held & (voices.corpus == name)
            shares.append(float((guessed[rows] == emotions[rows]).mean()))
    return {name: float(np.mean(values)) for name, values in right.items()}


# -- choosing


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other row beats: better in one of utility and leakage, as good in the
    other."""

    def beaten(row: Row) -> bool:
        return any(
            other.emotion >= row.emotion
            and other.leakage <= row.leakage
            and (other.emotion, other.leakage) != (row.emotion, row.leakage)
            for other in rows
        )

    return [row for row in rows if not beaten(row)]


def pick(rows: Sequence[Row]) -> Row:
    """Return the row of least leakage among those within .03 emotion accuracy of the best; ties are
    broken by fewer bytes."""
    best = max(row.emotion for row in rows)
    good = [row for row in rows if row.emotion >= best - _ALLOWED_LOSS]
    return min(good, key=lambda row: (row.leakage, row.bytes))


def picks(rows: Sequence[Row]) -> list[Row]:
    """Return the picked row of each projection's corpora; states with scores are never picked."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if not row.candidate.scores:
            groups.setdefault(row.candidate.corpora, []).append(row)
    return [pick(group) for group in groups.values()]


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return one JSON object; an infinite epsilon becomes null."""
    front, chosen = pareto(rows), picks(rows)
    return {
        "rows": [
            asdict(row)
            | {
                "emotion": row.emotion,
                "leakage": row.leakage,
                "epsilon": None if row.epsilon == inf else row.epsilon,
                "pareto": row in front,
                "picked": row in chosen,
            }
            for row in rows
        ]
    }
