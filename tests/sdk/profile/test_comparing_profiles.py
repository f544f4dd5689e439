"""A profile that is only compared with changes neither the emotion nor what is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ugsd_sdk
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.profile import Profile

from tests.doubles.reasons import why_of
from tests.doubles.speech import recorded_clips

New = Callable[..., Captioner]
CLIPS = recorded_clips()
BUNDLED = sorted((Path(ugsd_sdk.__file__).parent / "starter" / "clips").glob("16*.opus"))


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """A drafter that uses speaker profiles; its captions have five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


def test_no_state_is_sent_for_it(new_captioner: New, fake: Any) -> None:
    profile = Profile(only_compares=True)
    with new_captioner() as captioner:
        captions = [captioner.caption(clip, 16_000, profile=profile) for clip in CLIPS[:6]]
    assert {why_of(caption.unverified_reason) for caption in captions} == {"no_profile"}
    assert fake.blocks == []
    assert profile.num_clips > 3


@pytest.mark.skipif(not BUNDLED, reason="the starter's files are not in this checkout")
def test_emotions_are_those_without_a_profile() -> None:
    with Captioner() as captioner:
        alone = [captioner.caption(clip) for clip in BUNDLED]
        profile = Profile(only_compares=True)
        compared = [captioner.caption(clip, profile=profile) for clip in BUNDLED]
    emotions = [[one.attributes.emotion.distribution for one in made] for made in (alone, compared)]
    for without, with_it in zip(*emotions, strict=True):
        assert with_it.keys() == without.keys()
        assert np.allclose([with_it[k] for k in without], list(without.values()), atol=1e-6)
    assert all(one.attributes.previous.value is None for one in alone)
    assert any(one.attributes.previous.value is not None for one in compared)


def test_timelines_of_unnamed_people_send_no_state(new_captioner: New, fake: Any) -> None:
    pause = np.zeros(16_000, np.float32)
    recording = np.concatenate([part for clip in CLIPS[:6] for part in (clip, pause)])
    with new_captioner() as captioner:
        timeline = captioner.timeline(recording, 16_000)
        stated = captioner.timeline(recording, 16_000, profile=Profile())
    codes = [why_of(one.caption.unverified_reason) for one in timeline.channels[0].utterances]
    assert set(codes) == {"no_profile"}
    later = [why_of(one.caption.unverified_reason) for one in stated.channels[0].utterances]
    assert later[-1] is None
    assert len(fake.blocks) > 0
