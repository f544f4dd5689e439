from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip
from ugsd_lab.training import profiles, rejection_predictor
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order
from ugsd_lab.training.rejection_predictor import (
    IN_DOMAIN_ESCALATION_RATE,
    Observed,
    fit_logistic,
    fit_rejection_predictors,
    threshold_of,
)
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.uncertainty import FEATURES, spread_of
from ugsd_sdk.drafter import ConditionedClip, Prediction
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile


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


def test_threshold_asks_in_the_declared_share_of_captions() -> None:
    chance = np.random.default_rng(0).random(2000)
    asked = np.mean(chance >= threshold_of(chance))
    assert asked == pytest.approx(IN_DOMAIN_ESCALATION_RATE, abs=0.001)
    assert IN_DOMAIN_ESCALATION_RATE < 0.2


class _NoModel:
    """Stands in for a drafter or a verifier that is not used."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name

    def load(self) -> None: ...

    def close(self) -> None: ...


def clip(corpus: str, number: int, speaker: str = "1") -> Clip:
    path = Path(f"{number}.wav")
    return Clip(path, corpus, speaker, "female", "German", "sad", None, "", "calibration")


def test_predictors_are_fitted_in_and_out_of_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, set[str]]] = []

    def observe(
        drafter: _NoModel,
        scorer: _NoModel,
        clips: Sequence[Clip],
        progress: object,
        stating: _NoModel | None = None,
    ) -> list[Observed]:
        """Return features of which the OOD score is 0 in-domain and 2 out-of-domain."""
        stated = drafter.name if stating is None else stating.name
        asked.append((drafter.name, stated, {clip.corpus for clip in clips}))
        rng = np.random.default_rng(len(asked))
        out = []
        for clip in clips:
            x = dict.fromkeys(FEATURES, 0.0) | dict(
                zip(rejection_predictor._FEATURES, rng.normal(size=2), strict=True)
            )
            x["log1p(ood_score)"] = 2.0 * (clip.corpus == "ravdess" and drafter.name == "free")
            chance = 1 / (1 + np.exp(-(x["log-odds"] + 1.5 * x["log1p(ood_score)"] - 2)))
            rejects = bool(rng.random() < chance)
            rescues = rejects and x["log1p(ood_score)"] > 0
            out.append(Observed(x, rng.random(), rejects, rescues, rejects and not rescues, clip))
        return out

    monkeypatch.setattr(rejection_predictor, "OnnxDrafter", _NoModel)
    monkeypatch.setattr(rejection_predictor, "OnnxScorer", _NoModel)
    monkeypatch.setattr(rejection_predictor, "observe", observe)
    clips = [clip(corpus, n) for corpus in ("emodb", "ravdess", "nemo") for n in range(2000)]
    corpora_of = {
        "starter": ("ravdess", "emodb"), "free": ("emodb",), "ceiling": ("emodb", "nemo"),
    }  # fmt: skip
    fits = fit_rejection_predictors(Path(), Path(), clips, corpora_of, lambda *_: None)
    assert asked == [
        ("starter", "starter", {"ravdess", "emodb"}),
        ("free", "starter", {"ravdess"}),
        ("free", "free", {"emodb"}),
        ("free", "free", {"ravdess"}),
        ("ceiling", "ceiling", {"emodb", "nemo"}),
        ("free", "ceiling", {"ravdess"}),
    ], "what one drafter lacks is judged by the states of the drafter concerned"
    for found in fits.values():
        at = dict(zip(found.features, found.weights, strict=True))
        assert at["log-odds"] == pytest.approx(1, abs=0.2)
        assert at["log1p(ood_score)"] == pytest.approx(1.5, abs=0.2)
        in_domain, out_of_domain = (found.rescue([0.0, x]) - found.spoil([0.0, x]) for x in (0, 2))
        assert in_domain < -0.05
        assert out_of_domain > 0.5
    free = fits["free"]
    assert all(found.calibration_error < 0.05 for found in fits.values())
    assert len({found.threshold for found in fits.values()}) == 3
    assert 0 < free.entropy_threshold < 1


class _Encoder:
    """Embeds the number of a clip, and puts the profile into the result."""

    info = SimpleNamespace(slot_table=SlotTable((), {}))

    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        return speech

    def condition(
        self, embedding: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        vector = np.array([profile.count, *profile.mean])
        return ConditionedClip(vector, 1.0, voice=ClipVoice(embedding))


def test_clips_are_conditioned_on_running_profiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def number(clip: Clip) -> NDArray[np.float32]:
        return np.array([int(clip.path.stem)], dtype=np.float32)

    monkeypatch.setattr(profiles, "read_speech", number)
    clips = [clip("emodb", n, speaker="ab"[n % 2]) for n in range(12)]
    clips += [clip("emodb", 100 + n, speaker="c") for n in range(MIN_ENROLMENT)]
    encoder = _Encoder()
    judged = rejection_predictor._enrolled_clips(encoder, encoder, clips)  # type: ignore[arg-type]
    assert len(judged) == 2 * (6 - MIN_ENROLMENT)
    for speaker in "ab":
        order = [clips[i] for i in in_recording_order(clips) if clips[i].speaker == speaker]
        numbers = [float(number(clip)[0]) for clip in order]
        for count in range(MIN_ENROLMENT, 6):
            (found,) = (
                e
                for _, e, _ in judged
                if e.voice is not None and e.voice.embedding == [numbers[count]]
            )
            assert found.decoder_input.tolist() == pytest.approx([count, np.mean(numbers[:count])])


def test_no_clips_give_no_observations() -> None:
    """The drafter that knows all corpora has no out-of-domain clips."""
    assert rejection_predictor.observe(_Encoder(), _NoModel(Path()), [], lambda *_: None) == []  # type: ignore[arg-type]


TABLE = SlotTable(
    (None, None, None, *[Slot.EMOTION] * 4, Slot.PACE),
    {Slot.EMOTION: {"sad": (3, 4, 5), "angry": (3, 4, 6)}},
)
"""Tokens 3 and 4 are wording, 5 states sad, 6 angry; 7 is another clause."""


class _Session:
    def __init__(self, drafted: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self._drafted = drafted

    def predict(self) -> Prediction:
        logits = np.zeros(8, dtype=np.float32)
        logits[self._drafted[len(self.tokens)]] = 2 + len(self.tokens)
        return Prediction(logits, np.ones(2, dtype=np.float32))

    def append(self, tokens: Sequence[int]) -> None:
        self.tokens += tokens


class _Drafter:
    def __init__(self, drafted: Sequence[int]) -> None:
        self.info = SimpleNamespace(slot_table=TABLE, max_tokens=20)
        self._drafted = drafted

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> _Session:
        return _Session(self._drafted)


def test_features_are_those_of_the_stating_token() -> None:
    conditioned = ConditionedClip(np.zeros(3), 1.5)
    draft = rejection_predictor._draft(_Drafter([3, 4, 6, 3, 7]), conditioned)  # type: ignore[arg-type]
    assert draft is not None
    assert draft.question == (3, 4, 6)
    logits = np.zeros(8)
    logits[6] = 4  # the third token
    spread = spread_of(logits)
    assert draft.features == {name: f(spread, 1.5) for name, f in FEATURES.items()}
    assert draft.entropy > spread.entropy / np.log(8), "the first token is less certain"


def test_draft_without_emotion_asks_nothing() -> None:
    conditioned = ConditionedClip(np.zeros(3), 1.5)
    assert rejection_predictor._draft(_Drafter([3, 4, 7]), conditioned) is None  # type: ignore[arg-type]


def test_wordings_of_a_clip_differ_but_repeat() -> None:
    conditioned = ConditionedClip(np.zeros(3), 1.0, emotion={"sad": 0.3, "angry": 0.2}, strong=0.1)
    one = clip("emodb", 1)
    plans = rejection_predictor._plans(conditioned, one)
    assert plans == rejection_predictor._plans(conditioned, one)
    assert len({(plan.opening, plan.variant) for plan in plans}) > 1
    assert all(plan.is_doubtful and not plan.values for plan in plans)
