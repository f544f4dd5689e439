"""The contract of every drafter, run for the scripted drafter and the starter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from numpy.typing import NDArray
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter import ConditionedClip, Drafter, DraftSession
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.matching import ProfileMatch

STARTER = Path(ugsd_sdk.__file__).parent / "starter"


def starter() -> Drafter:
    from ugsd_sdk.drafter.onnx import OnnxDrafter

    drafter: Drafter = OnnxDrafter(STARTER)
    return drafter


needs_starter = pytest.mark.skipif(
    not (STARTER / "gate.json").exists(), reason="the starter's files are not in this checkout"
)


@pytest.fixture(params=[ScriptedDrafter, pytest.param(starter, marks=needs_starter)])
def drafter(request: pytest.FixtureRequest) -> Iterator[Drafter]:
    make: Callable[[], Drafter] = request.param
    made = make()
    made.load()
    yield made
    made.close()


@pytest.fixture
def clip(drafter: Drafter, voice: NDArray[np.float32]) -> ConditionedClip:
    return drafter.encode([voice])


def greedy(session: DraftSession, count: int) -> list[int]:
    drafted = []
    for _ in range(count):
        drafted.append(int(np.argmax(session.predict().logits)))
        session.append(drafted[-1:])
    return drafted


def same(session: DraftSession, other: DraftSession) -> None:
    assert list(session.tokens) == list(other.tokens)
    first, second = session.predict(), other.predict()
    np.testing.assert_allclose(first.logits, second.logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(first.state, second.state, rtol=1e-3, atol=1e-3)


def test_prediction_has_promised_shapes_and_bounds(drafter: Drafter, clip: ConditionedClip) -> None:
    session = drafter.start(clip)
    for _ in range(3):
        prediction = session.predict()
        assert prediction.logits.ndim == 1
        assert prediction.logits.dtype == prediction.state.dtype == np.float32
        assert prediction.state.shape == (drafter.info.state_dim,)
        assert np.linalg.norm(prediction.state) <= 1 + 1e-5
        assert 0 <= drafter.info.eos < prediction.logits.size
        session.append([1])
    assert 0 <= clip.ood_score < np.inf
    assert len(drafter.info.vocabulary) == len(drafter.info.projection) == 32


def test_tokens_in_one_step_equal_one_by_one(drafter: Drafter, clip: ConditionedClip) -> None:
    one, many = drafter.start(clip), drafter.start(clip)
    for token in [1, 2, 3, 4]:
        one.append([token])
    many.append([1, 2, 3, 4])
    same(one, many)


def test_cropped_session_equals_fresh_session(drafter: Drafter, clip: ConditionedClip) -> None:
    cropped, fresh = drafter.start(clip), drafter.start(clip)
    cropped.append([1, 2, 3, 4, 5])
    cropped.crop(2)
    fresh.append([1, 2])
    same(cropped, fresh)
    cropped.append([5, 6])
    fresh.append([5, 6])
    same(cropped, fresh)
    cropped.crop(0)
    same(cropped, drafter.start(clip))


def test_sessions_share_no_state(drafter: Drafter, clip: ConditionedClip) -> None:
    first, second = drafter.start(clip), drafter.start(clip)
    first.append([3, 2, 1])
    same(second, drafter.start(clip))
    assert greedy(second, 4) == greedy(drafter.start(clip), 4)


def test_session_accepts_the_longest_caption(drafter: Drafter, clip: ConditionedClip) -> None:
    session = drafter.start(clip)
    session.append([1] * drafter.info.max_tokens)
    assert len(session.tokens) == drafter.info.max_tokens


def test_pieces_make_the_text_without_end_marker(drafter: Drafter) -> None:
    tokens = [1, 2, 3]
    assert drafter.piece(drafter.info.eos) == ""
    assert drafter.text([*tokens, drafter.info.eos]) == drafter.text(tokens)
    pieces = "".join(drafter.piece(token) for token in tokens)
    assert drafter.text(tokens).split() == pieces.split()


@needs_starter
def test_starter_has_a_valid_rejection_predictor() -> None:
    assert 0 <= RejectionPredictor.load(STARTER / "gate.json").threshold <= 1


def test_clip_depends_on_nothing_encoded_before(
    drafter: Drafter, clip: ConditionedClip, voice: NDArray[np.float32]
) -> None:
    drafter.encode([np.ascontiguousarray(voice[::-1])])
    again = drafter.encode([voice])
    np.testing.assert_array_equal(again.decoder_input, clip.decoder_input)
    np.testing.assert_array_equal(again.state, clip.state)
    assert again.ood_score == clip.ood_score
    assert again.profile_match == clip.profile_match == ProfileMatch.NO_PROFILE
