"""Attribute, content and traffic attacks find planted information and nothing in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ugsd_lab.attacks import embedder
from ugsd_lab.attacks.attributes import attack_attribute, balanced_accuracy
from ugsd_lab.attacks.findings import Report, as_json
from ugsd_lab.attacks.frames import attack_frames
from ugsd_lab.attacks.leakage import leakage_of
from ugsd_lab.attacks.learning import TrainingBudget, fit_questions, ridge
from ugsd_lab.attacks.observations import Observation
from ugsd_lab.attacks.printing import as_markdown
from ugsd_lab.attacks.traffic import ESCALATED, features_of, score_traffic
from ugsd_lab.attacks.unsent import UNSENT_ATTRIBUTES, attack_unsent, unsent_attributes
from ugsd_lab.attacks.voices import Voices, folds_of
from ugsd_lab.attacks.wiretap import Capture, Packet
from ugsd_lab.errors import EvaluationError
from ugsd_sdk.attributes.slots import Slot

from tests.lab.attacks.planted_voices import planted, voices_of

SHORT = TrainingBudget(steps=120)


@pytest.mark.parametrize("attribute", ["gender", "sentence"])
def test_planted_attribute_is_found_and_noise_is_not(attribute: str) -> None:
    voices = voices_of(9, 24)
    labels = voices.gender if attribute == "gender" else voices.sentence
    folds = folds_of(voices, "nemo", ())

    def attacked(strength: float) -> tuple[float, float, float]:
        seen = Observation("summary", "3", {"states": planted(labels, strength)})
        (found,) = attack_attribute(voices, attribute, "nemo", folds, seen, effort=SHORT)
        return found.value, found.permuted, found.chance

    value, permuted, chance = attacked(3.0)
    assert value > 0.95
    assert permuted < chance + 0.35  # two clusters, and a coin is tossed for each
    assert abs(attacked(0.0)[0] - chance) < 0.12


def test_attribute_with_one_value_is_not_attacked() -> None:
    voices = voices_of(9, 24)
    seen = Observation("summary", "3", {"states": planted(voices.gender, 1.0)})
    folds = folds_of(voices, "nemo", ())
    assert attack_attribute(voices, "language", "nemo", folds, seen, effort=SHORT) == []


def test_always_guessing_the_commonest_is_chance() -> None:
    right = ["a"] * 9 + ["b"]
    assert balanced_accuracy(["s"] * 10, right, ["a"] * 10).value == 0.5


def test_sent_attribute_is_not_counted_as_guessed() -> None:
    said = [{Slot.EMOTION: "angry", Slot.PITCH: "low"}, {Slot.EMOTION: "sad"}]
    unsent = {one.attribute: one for one in unsent_attributes(said, [{Slot.EMOTION: "angry"}, {}])}
    assert unsent["emotion"].values.tolist() == ["", "sad"]
    assert unsent["pitch"].values.tolist() == ["low", ""]
    assert unsent.keys() == {"emotion", "pitch"}


def said_by(voices: Voices) -> list[dict[Slot, str]]:
    """Return captions that state the emotion and, for some clips, a pitch that goes with it."""
    pitches = {"angry": "high", "sad": "low", "happy": "high"}
    return [
        {Slot.EMOTION: emotion} | ({Slot.PITCH: pitches[emotion]} if number % 3 else {})
        for number, emotion in enumerate(voices.emotion.tolist())
    ]


def test_unsent_attributes_are_guessed_from_informative_states() -> None:
    voices = voices_of(9, 24)
    unsent = unsent_attributes(said_by(voices), [{}] * len(voices))
    folds = folds_of(voices, "nemo", ())
    nothing = np.full(len(voices), "")
    for strength, least, most in ((3.0, 0.9, 1.0), (0.0, 0.0, 0.65)):
        states = planted(voices.emotion, strength)
        seen = Observation("summary", "3", {"states": states})
        found = attack_unsent(voices, "nemo", folds, seen, unsent, nothing, effort=SHORT)
        by_measure = {one.measure.removeprefix(f"{UNSENT_ATTRIBUTES}: "): one for one in found}
        assert by_measure.keys() == {UNSENT_ATTRIBUTES, "emotion", "pitch"}
        assert least <= by_measure["emotion"].value <= most
        assert by_measure["emotion"].chance < 0.5
        asked = [by_measure[name].clips for name in ("emotion", "pitch")]
        assert asked == [len(voices), len(voices) * 2 // 3]
        assert by_measure[UNSENT_ATTRIBUTES].clips == sum(asked)


def test_sent_emotion_explains_what_goes_with_it() -> None:
    voices = voices_of(9, 24)
    said = said_by(voices)
    sent = [{Slot.EMOTION: own[Slot.EMOTION]} for own in said]
    unsent = unsent_attributes(said, sent)
    folds = folds_of(voices, "nemo", ())
    seen = Observation("summary", "3", {"states": planted(voices.emotion, 3.0)})
    found = attack_unsent(voices, "nemo", folds, seen, unsent, voices.emotion, effort=SHORT)
    pitch = next(one for one in found if one.measure.endswith("pitch"))
    assert pitch.value > 0.95
    assert pitch.advantage <= 0  # the emotion alone says it


def test_questions_learnt_together_stay_apart() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 600), rng.integers(0, 4, 600)
    features = np.hstack([np.eye(2)[first], np.eye(4)[second]]).astype(np.float32)
    answers = np.stack([first, second, np.full(600, -1)], axis=1)
    answers[::3, 1] = -1
    for linear in (True, False):
        guessed = fit_questions(features, answers, linear=linear, effort=SHORT)(features)
        assert (guessed[:, 0] == first).mean() > 0.95
        assert (guessed[:, 1] == second).mean() > 0.95
        assert not guessed[:, 2].any()


def test_frames_are_reconstructed_from_their_source_not_noise() -> None:
    voices = voices_of(9, 24)
    rng = np.random.default_rng(1)
    source = rng.normal(size=(len(voices), 8)).astype(np.float32)
    mels = (source @ rng.normal(size=(8, 60))).astype(np.float16)
    folds = folds_of(voices, "nemo", ())
    noise = rng.normal(size=source.shape).astype(np.float32)
    for seen_, least, most in ((source, 0.95, 1.0), (noise, -0.1, 0.1)):
        seen = Observation("summary", "3", {"states": seen_})
        (found,) = attack_frames(voices, "nemo", folds, seen, mels, effort=SHORT)
        assert least <= found.value <= most
        assert abs(found.permuted) < 0.15
        assert abs(found.chance) < 0.2


def test_ridge_without_penalty_is_least_squares() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, 3)) + 1).astype(np.float32)
    weights, bias = ridge(x, y, 1e-9)
    assert np.allclose(x @ weights + bias, y, atol=1e-3)


def captured(escalated: bool, *, constant: bool) -> Capture:
    if constant:
        return Capture((Packet(True, 600, 0.05), Packet(False, 600, 0.2)), escalated)
    passed = (Packet(True, 300, 0.05), Packet(False, 200, 0.1)) if escalated else ()
    return Capture(passed, escalated)


def test_constant_frames_reveal_no_escalation() -> None:
    voices = voices_of(8, 12)
    rng = np.random.default_rng(3)
    doubted = rng.random(len(voices)) < 0.5
    for constant in (False, True):
        captures = [captured(bool(one), constant=constant) for one in doubted]
        assert features_of(captures).shape[0] == len(voices)
        findings = score_traffic(
            "constant" if constant else "padded", captures, voices.speaker, voices.emotion,
            effort=SHORT,
        )  # fmt: skip
        (area,) = [found for found in findings if found.measure == ESCALATED]
        assert area.value == (0.5 if constant else 1.0)
        (emotion,) = [found for found in findings if found.measure == "emotion"]
        assert abs(emotion.value - emotion.chance) < 0.15


def test_report_is_printed_and_stored_with_the_drafter() -> None:
    voices = voices_of(9, 24)
    folds = folds_of(voices, "nemo", ())
    findings = []
    for name, profile in (("evidence", ""), ("summary", "3 apart"), ("summary", "3 at once")):
        seen = Observation(name, profile, {"states": planted(voices.gender, 3.0)})
        findings += attack_attribute(voices, "gender", "nemo", folds, seen, effort=SHORT)
    report = Report("free", ("emodb",), tuple(findings), ("a note",))
    assert len(as_json(report)["findings"]) == 3
    assert "| gender | nemo | summary | 3 apart |" in as_markdown(report)
    (leak,) = leakage_of(report, {}, "ugsd-lab attack").leaks
    assert leak.control is not None
    assert leak.control > 0.9


def test_weights_of_another_embedder_are_refused(tmp_path: Path) -> None:
    torch.save({"model_state": {}}, tmp_path / "pretrained.pt")
    with pytest.raises(EvaluationError, match="reinstall"):
        embedder.embed_clips(tmp_path / "pretrained.pt", [], lambda *_: None)
