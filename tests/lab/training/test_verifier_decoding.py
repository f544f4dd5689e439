"""What a verifier says of a drafter's states: the right columns, as received, by values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.errors import LabError
from ugsd_lab.training.verifier_decoding import (
    decode_with_verifier,
    is_rejected,
    projection_index,
)
from ugsd_privacy.protocol.messages import AskedSlot
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_server.verifier import VerifierInfo
from ugsd_server.verifier.engine import Verifier

from tests.doubles.fake_scorer import FakeScorer, Input

BOS, EOS, SOUNDS, SAD, DOWNCAST, ANGRY = range(6)
INFO = VerifierInfo(
    name="small",
    licence="none",
    vocabulary=bytes(32),
    projections=(bytes(32), bytes([1] * 32)),
    bos=BOS,
    eos=EOS,
    vocabulary_size=6,
    state_dim=2,
    max_tokens=8,
    content_tokens=frozenset({SAD, DOWNCAST, ANGRY}),
    values={AskedSlot.EMOTION: ((SAD, DOWNCAST), (ANGRY,))},
)


class _Scorer(FakeScorer):
    """Says *sounds*, then an emotion by the sign of the first number of the second projection, then
    the end."""

    def __init__(self) -> None:
        super().__init__(INFO)

    def logits(self, inputs: list[Input]) -> NDArray[np.float32]:
        row = np.full(INFO.vocabulary_size, -9, dtype=np.float32)
        last_token, _ = inputs[-1]
        heard = sum(state[2] for _, state in inputs if state)
        if last_token == BOS:
            row[SOUNDS] = 0
        elif last_token == SOUNDS:
            row[[SAD, DOWNCAST, ANGRY]] = (-heard, -heard - 1, heard)
        else:
            row[EOS] = 0
        return row


@pytest.fixture
def verifier() -> Verifier:
    verifier = Verifier(_Scorer())
    verifier.load()
    return verifier


def test_state_is_read_by_its_own_projection() -> None:
    state = np.array([0.9, 0.0], dtype=np.float32)
    assert decode_with_verifier(_Scorer(), state, 1) == [SOUNDS, ANGRY]
    assert decode_with_verifier(_Scorer(), -state, 1) == [SOUNDS, SAD]
    assert decode_with_verifier(_Scorer(), state, 0) == [SOUNDS, SAD], "it hears nothing"


def test_verifier_goes_on_after_given_wording() -> None:
    state = np.array([0.9, 0.0], dtype=np.float32)
    assert decode_with_verifier(_Scorer(), state, 1, [SOUNDS]) == [SOUNDS, ANGRY]
    assert decode_with_verifier(_Scorer(), state, 1, [DOWNCAST]) == [DOWNCAST]


@pytest.mark.parametrize(
    ("stated", "heard", "expected"),
    [(SAD, 0.9, True), (ANGRY, 0.9, False), (SAD, -0.9, False), (DOWNCAST, -0.9, False),
     (ANGRY, -0.9, True)],
)  # fmt: skip
def test_rejection_is_by_value(
    verifier: Verifier, stated: int, heard: float, expected: bool
) -> None:
    state = np.array([heard, 0.0], dtype=np.float32)
    assert is_rejected(verifier, [SOUNDS, stated], state, 1) is expected


def test_verdict_is_on_the_state_as_received(verifier: Verifier) -> None:
    """A state too small for int8 says nothing, and one too large is clipped to the norm."""
    tiny = np.array([1e-3, 0.0], dtype=np.float32)
    huge = np.array([1e3, 0.0], dtype=np.float32)
    assert is_rejected(verifier, [SOUNDS, SAD], tiny, 1) is False
    assert is_rejected(verifier, [SOUNDS, SAD], huge, 1) is True


def test_unknown_projection_is_an_error() -> None:
    drafter = replace(ScriptedDrafter().info, projection=bytes([1] * 32))
    assert projection_index(drafter, INFO) == 1
    with pytest.raises(LabError, match="does not read the states"):
        projection_index(replace(drafter, projection=bytes([2] * 32)), INFO)
