"""Which profiles of a recording permit that states are sent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk import Profile
from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.events import CallEvent, CaptionFinished
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import CaptionCancelled, CaptionTimeout

from tests.doubles.device import FakeVerifier
from tests.doubles.speech import recorded_clips

New = Callable[..., Captioner]


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """One whose states depend on the speaker."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


def mono() -> np.ndarray:
    pause = np.zeros(16_000, np.float32)
    return np.concatenate([part for clip in recorded_clips() for part in (clip, pause)])


def test_unnamed_speakers_send_no_states(new_captioner: New, fake: FakeVerifier) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        made = captioner.timeline(mono(), 16_000)
        captions = [one.caption for one in made.channels[0].utterances]
        assert captions[-1].profile.num_clips >= 3
        reasons = {one.unverified_reason and one.unverified_reason.code for one in captions}
        assert reasons <= {ReasonCode.NO_PROFILE, ReasonCode.SEVERAL_SPEAKERS}
        apart = np.stack([mono(), mono()[::-1]], 1)
        captioner.timeline(apart, 16_000, user="ada")
    assert fake.blocks == []


def test_a_given_profile_sends_states(new_captioner: New, fake: FakeVerifier) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        captioner.timeline(mono(), 16_000, channels=("a",), profile={"a": Profile()})
    assert fake.blocks


def test_a_named_user_of_one_channel_sends_states(new_captioner: New, fake: FakeVerifier) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected(user="ada")
        captioner.timeline(mono(), 16_000, user="ada")
    assert fake.blocks


def test_timelines_report_each_caption(new_captioner: New) -> None:
    seen: list[CallEvent] = []
    with new_captioner(on_event=seen.append) as captioner:
        made = captioner.timeline(mono(), 16_000)
    finished = [one for one in seen if isinstance(one, CaptionFinished)]
    assert len(finished) == len(made.channels[0].utterances)


def test_parts_end_with_the_whole_call() -> None:
    whole = Call()
    part = whole.part()
    part.check()
    whole.cancel()
    with pytest.raises(CaptionCancelled):
        part.check()
    with pytest.raises(CaptionTimeout):
        Call(timeout_s=1e-9).part().check()
