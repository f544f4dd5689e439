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
    """What happens to rows of two features whose weights are 2 and -1."""
    rejected: NDArray[np.bool_] = rng.random(len(x)) < 1 / (
        1 + np.exp(-(2 * x[:, 0] - x[:, 1] + bias))
    )
    return rejected


def test_the_logistic_fit_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    pools = [rng.normal([at, 3], [1, 5], size=(10_000, 2)) for at in (0, 1)]
    weights, bias = fit_logistic(pools, [judged(rng, pool) for pool in pools])
    assert weights == pytest.approx([2, -1], abs=0.1)
    assert bias == pytest.approx(0.5, abs=0.15)


def test_pools_weigh_the_same_whatever_their_sizes() -> None:
    """Two pools that disagree are answered half-way, also where one is ten times the other."""
    rng = np.random.default_rng(0)
    constant = np.zeros((20_000, 1))
    often, seldom = rng.random(20_000) < 0.9, rng.random(2_000) < 0.1
    _, bias = fit_logistic([constant, constant[:2_000]], [often, seldom])
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(0.5, abs=0.02)


def test_calibration_error_tells_honest_from_boastful() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    happened = rng.random(50_000) < chance
    assert expected_calibration_error(chance, happened) < 0.01
    assert expected_calibration_error(chance**3, happened) > 0.1
    sure = np.full(400, 0.9)
    assert expected_calibration_error(sure, np.zeros(400, dtype=bool)) == pytest.approx(0.9)
    assert expected_calibration_error(sure[:3], np.ones(3, dtype=bool)) == pytest.approx(0.1)


def test_the_threshold_escalates_a_block_of_the_least_sure_captions() -> None:
    rng = np.random.default_rng(0)
    chance = [rng.random(rng.integers(9, 30)) for _ in range(2000)]
    threshold = _threshold(chance)
    escalated = np.mean([caption.max() >= threshold for caption in chance])
    assert escalated == pytest.approx(IN_DOMAIN_ESCALATION_RATE, abs=0.001)


class _NoModel:
    """Stands for a drafter or a verifier that nobody asks."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name

    def load(self) -> None: ...

    def close(self) -> None: ...


def clip(corpus: str, number: int, speaker: str = "1") -> Clip:
    path = Path(f"{number}.wav")
    return Clip(path, corpus, speaker, "female", "German", "sad", None, "", "calibration")


def test_gates_share_their_weights_and_have_thresholds_of_their_own_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, list[set[str]]] = {}

    def observe(
        drafter: _NoModel, scorer: _NoModel, clips: Sequence[Clip], progress: object
    ) -> list[Observed]:
        """Three features of which the last, novelty, is 0 at home and 2 away."""
        asked.setdefault(drafter.name, []).append({clip.corpus for clip in clips})
        rng = np.random.default_rng([*drafter.name.encode(), len(asked[drafter.name])])
        out = []
        for clip in clips:
            away = clip.corpus == "ravdess" and drafter.name == "free"
            x = rng.normal(size=(12, 3))
            x[:, 2] = 2 * away
            chance = 1 / (1 + np.exp(-(x[:, 0] + 1.5 * x[:, 2] - 2)))
            other = bool(rng.random() < (0.8 if away else 0.2))
            out.append(Observed(x, rng.random(12), rng.random(12) < chance, 2.0 * away, other))
        return out

    monkeypatch.setattr(rejection_predictor, "OnnxDrafter", _NoModel)
    monkeypatch.setattr(rejection_predictor, "OnnxScorer", _NoModel)
    monkeypatch.setattr(rejection_predictor, "observe", observe)
    clips = [clip(corpus, n) for corpus in ("emodb", "ravdess", "nemo") for n in range(200)]
    home = {
        "starter": ("ravdess", "emodb"), "free": ("emodb",), "ceiling": ("emodb", "nemo"),
    }  # fmt: skip
    gates = fit_rejection_predictors(Path(), Path(), clips, home, lambda *_: None)
    assert asked["free"] == [{"emodb"}, {"ravdess"}]
    assert not any("nemo" in corpora for name in ("starter", "free") for corpora in asked[name])
    assert asked["ceiling"] == [{"emodb", "nemo"}]
    starter, free, ceiling = (gates[name] for name in home)
    assert starter.weights == free.weights == ceiling.weights
    assert starter.weights == pytest.approx([1, 0, 1.5], abs=0.2)
    assert all(found.calibration_error < 0.05 for found in gates.values())
    assert len({found.threshold for found in gates.values()}) == 3
    assert 0 < free.entropy_threshold < 1
    # Another feeling in a fifth of the clips at home and in four fifths away.
    at_home, away = (free.clip["bias"] + free.clip["weight"] * ood_score for ood_score in (0, 2))
    assert at_home == pytest.approx(-np.log(4), abs=0.4)
    assert away == pytest.approx(np.log(4), abs=0.4)


class _Ears:
    """Hears the number of a clip, and tells of the habit that it was read with."""

    def encode(
        self, samples: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        return self.condition(samples, profile)

    def condition(
        self, heard: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        return AudioEmbedding(np.array([profile.count, *profile.mean]), 1.0, unnormalised=heard)


def test_clips_are_judged_as_a_device_hears_them_that_knows_the_speaker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def number(clip: Clip) -> NDArray[np.float32]:
        return np.array([int(clip.path.stem)], dtype=np.float32)

    monkeypatch.setattr(profiles, "read_samples", number)
    clips = [clip("emodb", n, speaker="ab"[n % 2]) for n in range(12)]
    clips += [clip("emodb", 100 + n, speaker="c") for n in range(MIN_ENROLMENT)]
    judged = rejection_predictor._evidence(_Ears(), clips)  # type: ignore[arg-type]
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


def test_where_there_is_no_away_nothing_is_observed() -> None:
    """As for the drafter that knows all that the other one lacks."""
    assert rejection_predictor.observe(_Ears(), _NoModel(Path()), [], lambda *_: None) == []  # type: ignore[arg-type]
