"""What is attacked is what the device sends: one question, its states, and nothing besides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.attacks.disclosures import (
    Disclosed,
    ReplayedDraft,
    StateEncoder,
    disclosed_of,
    draft_of,
)
from ugsd_lab.attacks.encoder_outputs import EncoderOutputs
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.observations import Disclosures, Enrolment, Observation
from ugsd_lab.attacks.said import Measured, measure_clips, plans_of
from ugsd_lab.attacks.study import Target, _Study
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import pair_of
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.onnx import OnnxDrafter

from tests.doubles.prosodies import prosody_of
from tests.lab.attacks.planted_voices import planted, voices_of

SHORT = TrainingBudget(steps=10)
STATED = (Disclosure.SUMMARY, Disclosure.BLOCK_STATES, Disclosure.ALL_STATES)


@pytest.fixture(scope="module")
def drafter() -> OnnxDrafter:
    made = OnnxDrafter(pair_of("free").drafter)
    made.load()
    return made


@pytest.fixture(scope="module")
def drafts(drafter: OnnxDrafter) -> list[ReplayedDraft]:
    rng = np.random.default_rng(0)
    noises = [rng.normal(0, 0.1, 8000).astype(np.float32) for _ in range(3)]
    return [draft_of(drafter, drafter.condition(drafter.embed(noise))) for noise in noises]


def test_question_ends_where_the_emotion_is_stated(
    drafter: OnnxDrafter, drafts: list[ReplayedDraft]
) -> None:
    table = drafter.info.slot_table
    assert table is not None
    for draft in drafts:
        sent = disclosed_of(draft, drafter.info, Disclosure.SUMMARY, StateEncoder())
        assert sent.tokens == draft.tokens[: len(sent.tokens)]
        assert {table.slots[token] for token in sent.tokens} == {Slot.EMOTION}
        assert table.emotions_in(sent.tokens[-1:])
        assert not table.emotions_in(sent.tokens[:-1])
        assert sent.states.shape == (1, drafter.info.state_dim)
        assert np.abs(sent.states[0] - draft.predictions[0].state).max() < 0.01


def test_levels_that_say_the_same_are_one_observation(
    drafter: OnnxDrafter, drafts: list[ReplayedDraft]
) -> None:
    table = drafter.info.slot_table
    assert table is not None

    def digests(sigma: float | None) -> dict[Disclosure, bytes]:
        encode = StateEncoder(sigma)
        levels = (Disclosure.TOKENS, *STATED)
        disclosed = {
            level: [disclosed_of(draft, drafter.info, level, encode) for draft in drafts]
            for level in levels
        }
        seen = Disclosures(Enrolment(0), [], {}, disclosed)
        return {level: seen.observation(level, len(table.slots)).digest for level in levels}

    plain, noised = digests(None), digests(0.5)
    assert len({plain[level] for level in STATED}) == 1
    assert plain[Disclosure.TOKENS] not in {plain[level] for level in STATED}
    assert noised[Disclosure.SUMMARY] != noised[Disclosure.BLOCK_STATES]
    assert noised[Disclosure.TOKENS] == plain[Disclosure.TOKENS]


def test_drawn_value_is_sent_with_draft_weights(
    drafter: OnnxDrafter, drafts: list[ReplayedDraft]
) -> None:
    table = drafter.info.slot_table
    assert table is not None
    for draft in drafts:
        sent = disclosed_of(draft, drafter.info, Disclosure.DISTRIBUTIONS, StateEncoder())
        assert table.emotion_in(sent.tokens)
        assert max(sent.draft_weights) == 255
        assert len(sent.draft_weights) == len(table.values[Slot.EMOTION])
        assert len(sent.states) == 1


def test_draft_weights_are_read_beside_states() -> None:
    states = np.full((1, 2), 0.5, dtype=np.float32)
    clips = [Disclosed((1,), states, bytes([255, 0, 51])), Disclosed((), states[:0])]
    seen = Disclosures(Enrolment(0), [], {}, {Disclosure.DISTRIBUTIONS: clips})
    readings = seen.observation(Disclosure.DISTRIBUTIONS, 3).readings
    expected = np.array([[0.5, 0.5, 1, 0, 0.2], [0, 0, 0, 0, 0]])
    assert np.allclose(readings["states"], expected)
    assert readings["tokens and states"].shape == (2, 1 + 5)  # one token occurs


@pytest.mark.parametrize("sigma", [0.1, 1.0, 8.0])
def test_noised_states_are_unbiased_and_noisy_as_set(sigma: float) -> None:
    state = np.array([0.6, -0.8, 0.0], dtype=np.float32)
    read = StateEncoder(sigma)(np.tile(state, (4000, 1)))
    assert np.abs(read.mean(axis=0) - state).max() < 6 * sigma / 4000**0.5 + 0.01
    assert np.allclose(read.std(axis=0), sigma, rtol=0.1)


def test_state_without_noise_is_only_quantised() -> None:
    state = np.array([[0.6, -0.8, 0.0]], dtype=np.float32)
    assert np.abs(StateEncoder()(state) - state).max() <= 0.5 / 127 + 1e-6
    assert np.linalg.norm(StateEncoder()(5 * state)) < 1.02


def test_equal_observations_are_attacked_once() -> None:
    voices = voices_of(6, 8)
    mels = np.random.default_rng(0).normal(size=(len(voices), 20)).astype(np.float16)
    nobody: Any = None
    target = Target(
        Path("free"), (), nobody, nobody, 3, voices,
        EncoderOutputs(planted(voices.speaker, 1.0), mels),
        Measured(np.zeros(0, dtype=np.int64), []),
    )  # fmt: skip
    stages: list[str] = []
    study = _Study(target, SHORT, lambda stage, *_: stages.append(stage))
    states = planted(voices.speaker, 2.0)
    first, second, other = (
        study.findings(Observation(name, profile, {"states": some}), None)
        for name, profile, some in (
            ("summary", "3+ running", states),
            ("all_states", "3+ running", states),
            ("tokens", "none", states + 1),
        )
    )
    assert set(stages) == {
        "attacking summary, profile 3+ running",
        "attacking tokens, profile none",
    }
    assert [one.value for one in first] == [one.value for one in second]
    assert {(one.seen, one.profile) for one in second} == {("all_states", "3+ running")}
    assert {one.seen for one in other} == {"tokens"}


def conditioned(count: int) -> list[ConditionedClip]:
    vector: NDArray[np.float32] = np.zeros(1, dtype=np.float32)
    return [ConditionedClip(vector, 1.0, emotion={"sad": 0.9, "calm": 0.1}) for _ in range(count)]


def test_captions_say_what_was_measured() -> None:
    voices = voices_of(2, 12)
    rows = np.arange(20)
    loud = [prosody_of(effort_db=10.0) for _ in rows]
    measured = Measured(rows, [*loud[:-1], replace(loud[-1], effort_db=-40.0)])
    enrolled, unenrolled = (
        plans_of(voices, measured, conditioned(len(voices)), enrolled=one) for one in (True, False)
    )
    assert unenrolled[0].values[Slot.LOUDNESS] == "loud"
    assert unenrolled[19].values[Slot.LOUDNESS] == "quiet"
    assert not any(plan.values for plan in (*enrolled[20:], *unenrolled[20:]))
    related = {Slot.PROFILE, Slot.PREVIOUS}
    assert related & {*enrolled[19].values}
    assert not any(related & {*plan.values} for plan in unenrolled)


def test_foreign_prosody_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prosody.json"
    file.write_text('{"nemo/1": {"speech_s": "long"}}')
    with pytest.raises(EvaluationError, match="another --cache"):
        measure_clips(voices_of(2, 3), file, lambda *_: None)
