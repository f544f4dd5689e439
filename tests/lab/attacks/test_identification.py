"""Speakers are identified by their states, less with noise, and not by tokens that all share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ugsd_lab.attacks.disclosures import Disclosed, StateEncoder
from ugsd_lab.attacks.encoder_outputs import EncoderOutputs
from ugsd_lab.attacks.identification import identifications
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.observations import Disclosures, Enrolment
from ugsd_lab.attacks.said import Measured
from ugsd_lab.attacks.speaker_attackers import unit
from ugsd_lab.attacks.study import Target
from ugsd_lab.evaluation.frontier_outcomes import Exposure
from ugsd_privacy.protocol.messages import Disclosure

from tests.lab.attacks.planted_voices import planted, voices_of

SHORT = TrainingBudget(steps=20)
TOKENS, SUMMARY = Exposure(Disclosure.TOKENS), Exposure(Disclosure.SUMMARY)
NOISED = Exposure(Disclosure.SUMMARY, 4.0)


class PlantedDrafts:
    """Discloses the same token of every clip, and a state in which its speaker is planted."""

    def __init__(self, states: np.ndarray) -> None:
        self._states = states

    def disclosed(
        self, disclosures: list[Disclosure], *, sigma: float | None = None
    ) -> Disclosures:
        (level,) = disclosures
        encode = StateEncoder(sigma)
        has_states = level is not Disclosure.TOKENS
        clips = [
            Disclosed((1,), encode(state[None]) if has_states else state[None][:0])
            for state in self._states
        ]
        return Disclosures(Enrolment(3, "at once"), [], {}, {level: clips})


def test_noise_and_tokens_hide_the_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    voices = voices_of(6, 30)
    states = unit(planted(voices.speaker, 3.0).astype(np.float64)).astype(np.float32)
    enrolments: list[str] = []

    def drafts(_: Target, known: Enrolment, progress: object) -> PlantedDrafts:
        enrolments.append(str(known))
        return PlantedDrafts(states)

    monkeypatch.setattr(Target, "drafts", drafts)
    nobody: Any = None
    mels = np.zeros((len(voices), 1), dtype=np.float16)
    target = Target(
        Path("free"), (), nobody, nobody, 3, voices, EncoderOutputs(states, mels),
        Measured(np.zeros(0, dtype=np.int64), []),
    )  # fmt: skip
    found = identifications(target, [TOKENS, SUMMARY, NOISED], lambda *_: None, effort=SHORT)
    assert enrolments == ["3 at once"]
    advantage = {exposure: one["nemo"].advantage for exposure, one in found.items()}
    assert advantage[SUMMARY] > 0.8
    assert advantage[TOKENS] < 0.2
    assert advantage[NOISED] < advantage[SUMMARY] - 0.3
    one = found[SUMMARY]["nemo"]
    assert one.low <= one.advantage <= one.high <= 1
    assert (one.corpus, one.speakers) == ("nemo", 6)
