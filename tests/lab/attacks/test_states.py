"""Ways of making states: the selection rule, the erasure of labels, the epsilon of noise."""

from __future__ import annotations

from math import inf, isfinite, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_lab.attacks.candidates import (
    SCORES_ONLY,
    Candidate,
    FittedOn,
    Material,
    candidates,
    epsilon,
)
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.picture import draw_states
from ugsd_lab.attacks.printing import states_markdown
from ugsd_lab.attacks.projections import KINDS, TrainingSet, leace
from ugsd_lab.attacks.states import Row, as_json, measure_all, pareto, pick, picks
from ugsd_lab.data.recipe import PROJECTIONS

from tests.lab.attacks.planted_voices import voices_of

SHORT = TrainingBudget(steps=60)
E, EMOTIONS = 20, 4
EMODB: tuple[str, ...] = ("emodb",)


def row(dim: int, emotion: float, leakage: float, *, bytes_: int = 10) -> Row:
    one = Candidate("discriminant", dim)
    return Row(one, {"emodb": emotion}, leakage, leakage, leakage, bytes_, inf)


def test_least_leakage_within_three_points_is_picked() -> None:
    best, close, far = row(112, 0.70, 0.9), row(16, 0.675, 0.2), row(4, 0.60, 0.0)
    assert pick([best, close, far]) is close
    assert pick([best, row(16, 0.66, 0.1)]) is best
    small = row(8, 0.68, 0.2, bytes_=4)
    assert pick([best, close, small]) is small


def test_each_projection_is_picked_for_without_scores() -> None:
    def of(corpora: tuple[str, ...], leakage: float, *, scores: bool = False) -> Row:
        one = Candidate("discriminant", 6, corpora, scores=scores)
        return Row(one, {"emodb": 0.6}, leakage, leakage, leakage, 6, inf)

    some = [
        of(EMODB, 0.3),
        of(EMODB, 0.2),
        of(("ravdess", "emodb"), 0.4),
        of(EMODB, 0.0, scores=True),
    ]
    assert picks(some) == some[1:3]


rows = st.lists(
    st.builds(row, st.integers(1, 99), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12
)


@given(rows)
def test_front_holds_exactly_the_unbeaten_rows(some: list[Row]) -> None:
    front = pareto(some)
    assert front

    def beats(a: Row, b: Row) -> bool:
        better = a.emotion > b.emotion or a.leakage < b.leakage
        return a.emotion >= b.emotion and a.leakage <= b.leakage and better

    for one in some:
        assert (one in front) == (not any(beats(other, one) for other in some))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_no_linear_classifier_finds_erased_labels(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % classes
    features = rng.normal(size=(120, 8)) + 3 * rng.normal(size=(classes, 8))[labels]
    mean, matrix = leace(features, labels)
    erased = features - (features - mean) @ matrix
    # A linear classifier finds nothing if each class has the same mean (theorem 3.1).
    means = np.stack([erased[labels == i].mean(axis=0) for i in range(classes)])
    assert np.allclose(means, means.mean(axis=0), atol=1e-6)
    assert np.linalg.matrix_rank(matrix, tol=1e-6) <= classes - 1


def test_erasure_agrees_with_the_reference_implementation() -> None:
    concept_erasure = pytest.importorskip("concept_erasure")
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 3
    features = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + labels[:, None]
    fitter = concept_erasure.LeaceFitter.fit(
        torch.from_numpy(features), torch.from_numpy(np.eye(3)[labels]), shrinkage=False
    )
    theirs = fitter.eraser(torch.from_numpy(features)).numpy()
    mean, matrix = leace(features, labels)
    assert np.allclose(features - (features - mean) @ matrix, theirs, atol=1e-4)


def test_epsilon_solves_the_exact_privacy_profile() -> None:
    from scipy.stats import norm

    assert epsilon(0) == inf
    for sigma, vectors in ((0.6, 12), (1.3, 12), (0.25, 1), (2.0, 1)):
        eps, mu = epsilon(sigma, vectors), 2 * sqrt(vectors) / sigma
        second = np.exp(eps + norm.logcdf(-eps / mu - mu / 2))
        assert norm.cdf(-eps / mu + mu / 2) - second == pytest.approx(1e-6, rel=1e-6)
    assert epsilon(0.3) == pytest.approx(epsilon(0.3 * sqrt(12), 12))
    assert isfinite(epsilon(0.001))
    # One release at sigma = 2 sqrt(2 ln(1.25 / delta)): the classical bound for epsilon 1.
    assert epsilon(2 * sqrt(2 * np.log(1.25e6))) < 1


def material() -> Material:
    voices = voices_of(
        9, 24, corpus="emodb", split=lambda speaker: "dev" if speaker > 5 else "train"
    )
    rng = np.random.default_rng(0)
    which = np.unique(voices.emotion, return_inverse=True)[1]
    who = np.unique(voices.speaker, return_inverse=True)[1]
    embedding = (
        3 * rng.normal(size=(3, E))[which]
        + 3 * rng.normal(size=(9, E))[who]
        + rng.normal(size=(len(voices), E))
    ).astype(np.float32)
    own = np.stack(
        [e - embedding[who == s].mean(axis=0) for e, s in zip(embedding, who, strict=True)]
    )
    train = voices.split == "train"
    parts = embedding[train][:, None] + rng.normal(size=(train.sum(), 3, E))
    training_set = TrainingSet(
        embedding[train], own[train], voices.speaker[train], voices.emotion[train],
        parts.astype(np.float32),
    )  # fmt: skip
    emotion = np.log(np.full((len(voices), EMOTIONS), 0.1))
    emotion[np.arange(len(voices)), which] = np.log(0.7)
    fitted_on = {EMODB: FittedOn(training_set, own, own)}
    return Material(voices, embedding, emotion.astype(np.float32), fitted_on)


@pytest.mark.parametrize("kind", list(KINDS))
def test_states_keep_emotion_and_profile_hides_speaker(kind: str) -> None:
    with_profile, without_profile = measure_all(
        material(), [Candidate(kind, 6, EMODB), Candidate(kind, 6, EMODB, subtracts_profile=False)],
        lambda *_: None, effort=SHORT,
    )  # fmt: skip
    assert with_profile.emotion > 0.8
    assert with_profile.speaker < 0.3
    if kind not in ("LEACE, PCA", "adversarial"):
        assert without_profile.speaker > with_profile.speaker
    assert with_profile.bytes == 6


def test_noise_and_few_bits_change_states_as_declared() -> None:
    made = material()
    plain, noised, coarse, strong = (
        made.states(Candidate("discriminant", 6, EMODB, **more), effort=SHORT)
        for more in ({}, {"sigma": 0.5}, {"bits": 2}, {"sigma": 2.0})
    )
    assert np.allclose(np.linalg.norm(plain, axis=1), 1, atol=0.02)
    assert len(np.unique(coarse)) == 3
    assert np.std(noised - plain) == pytest.approx(0.5, rel=0.1)
    assert np.std(strong - plain) == pytest.approx(2.0, rel=0.1)  # not clamped to the unit ball


def test_scores_fill_the_rest_of_a_state() -> None:
    made = material()
    both = made.states(Candidate("discriminant", 6, EMODB, scores=True))
    alone = made.states(Candidate(SCORES_ONLY, 0, scores=True))
    assert both.shape[1] == 6 + EMOTIONS
    assert np.array_equal(both[:, 6:], alone)
    assert np.linalg.norm(both, axis=1).max() < 1.02


def test_states_are_drawn_and_printed_reproducibly(tmp_path: Path) -> None:
    some = [
        row(112, 0.7, 0.9),
        row(16, 0.68, 0.2),
        Row(
            Candidate(SCORES_ONLY, 0, scores=True, sigma=0.1),
            {"emodb": 0.6},
            0.1,
            0.1,
            0.1,
            4,
            3.0,
        ),
    ]
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        draw_states(picture, some)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert "| discriminant, 16 |" in states_markdown(some)
    assert [r["picked"] for r in as_json(some)["rows"]] == [False, True, False]
    compared = candidates(PROJECTIONS)
    assert len({str(one) for one in compared}) == len(compared)
    assert {one.corpora for one in compared if one.kind != SCORES_ONLY} == set(PROJECTIONS)
