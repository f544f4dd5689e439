from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip
from ugsd_lab.training import profiles, rejection_predictor
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order
from ugsd_lab.training.rejection_predictor import (
    IN_DOMAIN_ESCALATION_RATE,
    Observed,
    _threshold,
    expected_calibration_error,
    fit_logistic,
    fit_rejection_predictors,
)
from ugsd_sdk.drafter import AudioEmbedding
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile


def judged(
    rng: np.random.Generator, x: NDArray[np.float64], bias: float = 0.5
) -> NDArray[np.bool_]:
    """Draw events for rows of two features whose weights are 2 and -1."""
    rejected: NDArray[np.bool_] = rng.random(len(x)) < 1 / (
        1 + np.exp(-(2 * x[:, 0] - x[:, 1] + bias))
    )
    return rejected


def test_logistic_fit_recovers_the_true_weights() -> None:
    rng = np.random.default_rng(0)
    pools = [rng.normal([at, 3], [1, 5], size=(10_000, 2)) for at in (0, 1)]
    weights, bias = fit_logistic(pools, [judged(rng, pool) for pool in pools])
    assert weights == pytest.approx([2, -1], abs=0.1)
    assert bias == pytest.approx(0.5, abs=0.15)


def test_pools_have_equal_weight_at_any_size() -> None:
    """Two pools that disagree give the mean, also if one is ten times as large as the other."""
    rng = np.random.default_rng(0)
    constant = np.zeros((20_000, 1))
    often, seldom = rng.random(20_000) < 0.9, rng.random(2_000) < 0.1
    _, bias = fit_logistic([constant, constant[:2_000]], [often, seldom])
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(0.5, abs=0.02)


def test_calibration_error_is_larger_for_overconfident_predictions() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    happened = rng.random(50_000) < chance
    assert expected_calibration_error(chance, happened) < 0.01
    assert expected_calibration_error(chance**3, happened) > 0.1
    sure = np.full(400, 0.9)
    assert expected_calibration_error(sure, np.zeros(400, dtype=bool)) == pytest.approx(0.9)
    assert expected_calibration_error(sure[:3], np.ones(3, dtype=bool)) == pytest.approx(0.1)


def test_threshold_escalates_the_declared_share_of_captions() -> None:
    rng = np.random.default_rng(0)
    chance = [rng.random(rng.integers(9, 30)) for _ in range(2000)]
    threshold = _threshold(chance)
    escalated = np.mean([caption.max() >= threshold for caption in chance])
    assert escalated == pytest.approx(IN_DOMAIN_ESCALATION_RATE, abs=0.001)


class _NoModel:
    """Stands in for a drafter or a verifier that is not used."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name

    def load(self) -> None: ...

    def close(self) -> None: ...


def clip(corpus: str, number: int, speaker: str = "1") -> Clip:
    path = Path(f"{number}.wav")
    return Clip(path, corpus, speaker, "female", "German", "sad", None, "", "calibration")


def test_predictors_share_weights_but_not_thresholds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, list[set[str]]] = {}

    def observe(
        drafter: _NoModel, scorer: _NoModel, clips: Sequence[Clip], progress: object
    ) -> list[Observed]:
        """Return three features; the last, the OOD score, is 0 in-domain and 2 out-of-domain."""
        asked.setdefault(drafter.name, []).append({clip.corpus for clip in clips})
        rng = np.random.default_rng([*drafter.name.encode(), len(asked[drafter.name])])
        out = []
        for clip in clips:
            out_of_domain = clip.corpus == "ravdess" and drafter.name == "free"
            x = rng.normal(size=(12, 3))
            x[:, 2] = 2 * out_of_domain
            chance = 1 / (1 + np.exp(-(x[:, 0] + 1.5 * x[:, 2] - 2)))
            other = bool(rng.random() < (0.8 if out_of_domain else 0.2))
            out.append(
                Observed(x, rng.random(12), rng.random(12) < chance, 2.0 * out_of_domain, other)
            )
        return out

    monkeypatch.setattr(rejection_predictor, "OnnxDrafter", _NoModel)
    monkeypatch.setattr(rejection_predictor, "OnnxScorer", _NoModel)
    monkeypatch.setattr(rejection_predictor, "observe", observe)
    clips = [clip(corpus, n) for corpus in ("emodb", "ravdess", "nemo") for n in range(200)]
    corpora_of = {
        "starter": ("ravdess", "emodb"), "free": ("emodb",), "ceiling": ("emodb", "nemo"),
    }  # fmt: skip
    fits = fit_rejection_predictors(Path(), Path(), clips, corpora_of, lambda *_: None)
    assert asked["free"] == [{"emodb"}, {"ravdess"}]
    assert not any("nemo" in corpora for name in ("starter", "free") for corpora in asked[name])
    assert asked["ceiling"] == [{"emodb", "nemo"}]
    starter, free, ceiling = (fits[name] for name in corpora_of)
    assert starter.weights == free.weights == ceiling.weights
    assert starter.weights == pytest.approx([1, 0, 1.5], abs=0.2)
    assert all(found.calibration_error < 0.05 for found in fits.values())
    assert len({found.threshold for found in fits.values()}) == 3
    assert 0 < free.entropy_threshold < 1
    # Another emotion in a fifth of the clips in-domain and in four fifths out-of-domain.
    in_domain, out_of_domain = (
        free.clip["bias"] + free.clip["weight"] * ood_score for ood_score in (0, 2)
    )
    assert in_domain == pytest.approx(-np.log(4), abs=0.4)
    assert out_of_domain == pytest.approx(np.log(4), abs=0.4)


class _Encoder:
    """Embeds the number of a clip, and puts the profile into the result."""

    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        return speech

    def condition(
        self, embedding: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        return AudioEmbedding(np.array([profile.count, *profile.mean]), 1.0, unnormalised=embedding)


def test_clips_are_embedded_with_running_profiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def number(clip: Clip) -> NDArray[np.float32]:
        return np.array([int(clip.path.stem)], dtype=np.float32)

    monkeypatch.setattr(profiles, "read_speech", number)
    clips = [clip("emodb", n, speaker="ab"[n % 2]) for n in range(12)]
    clips += [clip("emodb", 100 + n, speaker="c") for n in range(MIN_ENROLMENT)]
    judged = rejection_predictor._enrolled_embeddings(_Encoder(), clips)  # type: ignore[arg-type]
    assert len(judged) == 2 * (6 - MIN_ENROLMENT)
    for speaker in "ab":
        order = [clips[i] for i in in_recording_order(clips) if clips[i].speaker == speaker]
        numbers = [float(number(clip)[0]) for clip in order]
        for count in range(MIN_ENROLMENT, 6):
            (found,) = (
                e
                for e in judged
                if e.unnormalised is not None and e.unnormalised == [numbers[count]]
            )
            assert found.vector.tolist() == pytest.approx([count, np.mean(numbers[:count])])


def test_no_clips_give_no_observations() -> None:
    """The drafter that knows all corpora has no out-of-domain clips."""
    assert rejection_predictor.observe(_Encoder(), _NoModel(Path()), [], lambda *_: None) == []  # type: ignore[arg-type]
