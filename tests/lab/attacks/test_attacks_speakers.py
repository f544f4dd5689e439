"""Speaker attacks find planted voices and nothing in noise."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.attacks.findings import Finding, strongest
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.observations import Enrolment, Observation, drawn_profiles
from ugsd_lab.attacks.scores import Trials, bounds, equal_error, measured, true_positives
from ugsd_lab.attacks.speaker_attackers import ATTACKERS
from ugsd_lab.attacks.speakers import attack_speakers
from ugsd_lab.attacks.voices import Voices, folds_of, folds_together, open_folds

from tests.lab.attacks import planted_voices

SHORT = TrainingBudget(steps=120)
DIM = 12


def voices_of(speakers: int, clips: int, *, corpus: str = "nemo") -> Voices:
    """Return voices with speakers in all splits."""
    return planted_voices.voices_of(
        speakers, clips, corpus=corpus, emotions=("angry", "sad"), sentences=3,
        split=lambda speaker: ("train", "dev", "test")[speaker % 3],  # type: ignore[arg-type,return-value]
    )  # fmt: skip


def planted(voices: Voices, strength: float) -> NDArray[np.float32]:
    return planted_voices.planted(voices.speaker, strength, dim=DIM)


def found(features: NDArray[np.float32], voices: Voices, name: str) -> dict[str, Finding]:
    folds = folds_of(voices, "nemo", ())
    seen = Observation("summary", "none", {"states": features})
    findings = attack_speakers(voices, "nemo", folds, seen, attackers=[name], effort=SHORT)
    return {finding.measure: finding for finding in findings}


@cache
def found_of_planted(name: str) -> dict[str, Finding]:
    voices = voices_of(12, 30)
    return found(planted(voices, 2.0), voices, name)


@pytest.mark.parametrize("name", list(ATTACKERS))
def test_every_attacker_finds_a_planted_voice(name: str) -> None:
    findings = found_of_planted(name)
    assert findings["identification"].value > 0.9
    assert findings["identification"].chance == 0.25
    assert findings["EER"].value < 0.2
    assert findings["EER, enrolled"].value < 0.12
    assert findings["EER, sets"].value < 0.1
    assert findings["TPR at 1 % FPR"].value > 0.2


@pytest.mark.parametrize("name", list(ATTACKERS))
def test_every_attacker_is_at_chance_on_noise(name: str) -> None:
    voices = voices_of(12, 30)
    findings = found(planted(voices, 0.0), voices, name)
    assert abs(findings["identification"].value - 0.25) < 0.1
    for measure in ("EER", "EER, same gender", "EER, enrolled"):
        assert abs(findings[measure].value - 0.5) < 0.06


@pytest.mark.parametrize("name", list(ATTACKERS))
def test_permuted_labels_are_the_negative_control(name: str) -> None:
    findings = found_of_planted(name)
    assert abs(findings["identification"].permuted - 0.25) < 0.12
    assert abs(findings["EER"].permuted - 0.5) < 0.05


def test_captions_with_one_profile_are_linkable() -> None:
    voices = voices_of(12, 30)
    embedding = planted(voices, 2.0)

    def linked(known: Enrolment) -> float:
        profiles = drawn_profiles(voices, embedding, known)
        own = np.stack([e - profile.mean for e, profile in zip(embedding, profiles, strict=True)])
        return found(own, voices, "WCCN")["identification"].value

    apart, at_once = (linked(Enrolment(3, course)) for course in ("apart", "at once"))
    assert abs(apart - 0.25) < 0.1
    assert at_once > 0.5


@pytest.mark.parametrize("course", ["apart", "running", "at once"])
def test_profile_averages_other_clips_of_the_same_speaker(course: str) -> None:
    voices = voices_of(3, 8)
    numbers = np.unique(voices.speaker, return_inverse=True)[1]
    embedding = np.stack([100 * numbers, np.arange(len(voices))], axis=1).astype(np.float32)
    profiles = drawn_profiles(voices, embedding, Enrolment(4, course))  # type: ignore[arg-type]
    for row, profile in enumerate(profiles):
        assert profile.count >= 4
        assert profile.mean[0] == pytest.approx(embedding[row, 0], abs=1e-3)
    alone = voices_of(2, 1)
    assert drawn_profiles(alone, embedding[:2], Enrolment(0))[0].count == 0


def test_no_speaker_known_from_training_is_attacked() -> None:
    both = Voices([*voices_of(9, 4).clips, *voices_of(9, 4, corpus="emodb").clips])
    for corpus, in_domain in (("nemo", ("emodb",)), ("emodb", ("emodb",)), ("nemo", ())):
        folds = folds_of(both, corpus, in_domain)
        tested = np.concatenate([fold.test for fold in folds])
        assert len(set(tested.tolist())) == len(tested)
        for fold in folds:
            assert not set(both.speaker[fold.train]) & set(both.speaker[fold.test])
        if corpus in in_domain:
            assert set(both.split[tested].tolist()) == {"test"}
        else:
            assert set(both.speaker[tested]) == set(both.speaker[both.corpus == corpus])
    (together,) = folds_together([folds_of(both, name, ()) for name in both.corpora])
    assert not set(both.speaker[together.train]) & set(both.speaker[together.test])
    assert set(both.corpus[together.test].tolist()) == {"nemo", "emodb"}


def test_open_folds_contain_no_test_speaker() -> None:
    voices = voices_of(12, 4)
    for fold in open_folds(voices, "nemo"):
        rows = np.concatenate([fold.train, fold.test])
        assert "test" not in voices.split[rows]
    (held_out,) = open_folds(voices, "nemo", is_known=True)
    assert set(voices.split[held_out.test].tolist()) == {"dev"}
    assert "train" in voices.split[held_out.train]
    assert not set(voices.speaker[held_out.train]) & set(voices.speaker[held_out.test])


scores = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=30)


def brute_rates(alike: list[float], unlike: list[float]) -> list[tuple[float, float]]:
    """Return (missed, passed) at every threshold."""
    cuts = sorted({*alike, *unlike, float("inf")})
    return [
        (np.mean([s < cut for s in alike]), np.mean([s >= cut for s in unlike])) for cut in cuts
    ]


def counted(alike: list[float], unlike: list[float]) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    values = sorted({*alike, *unlike})
    return tuple(  # type: ignore[return-value]
        np.array([[some.count(value) for value in values]], dtype=float) for some in (alike, unlike)
    )


@given(scores, scores)
def test_equal_error_agrees_with_brute_force(alike: list[float], unlike: list[float]) -> None:
    error = float(equal_error(*counted(alike, unlike))[0])
    rates = brute_rates(alike, unlike)
    before = max((r for r in rates if r[0] < r[1]), default=(0.0, 1.0))
    after = min((r for r in rates if r[0] >= r[1]), default=(1.0, 0.0))
    assert before[0] - 1e-9 <= error <= after[0] + 1e-9 or after[1] - 1e-9 <= error <= before[1]


@given(scores, scores)
def test_true_positives_agree_with_brute_force(alike: list[float], unlike: list[float]) -> None:
    many = unlike * (100 // len(unlike) + 1)
    rates = brute_rates(alike, many)
    expected = max(1 - missed for missed, passed in rates if passed <= 0.01)
    assert float(true_positives(*counted(alike, many))[0]) == pytest.approx(expected)


def test_rates_of_too_few_trials_are_undefined() -> None:
    assert np.isnan(true_positives(*counted([1.0], [0.0] * 99))[0])
    assert np.isnan(equal_error(np.ones((1, 2)), np.zeros((1, 2)))[0])


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000))
def test_trials_of_two_folds_pool_at_any_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = map(np.array, zip(*combinations(range(40), 2), strict=True))
    owner = np.arange(40) % 4
    values = rng.normal(size=len(left)) + 2 * (owner[left] == owner[right])
    one = Trials.of(values, owner[left], owner[right], 4)
    scaled = Trials.of(7 * values - 3, owner[left], owner[right], 4)
    assert measured([one, scaled], "EER") == pytest.approx(measured([one], "EER"), abs=0.01)
    low, high = bounds([one, scaled], "EER")
    assert low <= measured([one], "EER") <= high + 0.02


def test_strongest_finding_is_never_an_undefined_one() -> None:
    def finding(value: float, *, error: bool = False) -> Finding:
        return Finding(
            "speaker", "EER", "nemo", "summary", "3", value, 0.5, "LDA", lower_is_stronger=error
        )

    assert strongest([finding(0.6), finding(0.9), finding(float("nan"))]).value == 0.9
    assert strongest([finding(0.4, error=True), finding(0.1, error=True)]).value == 0.1
