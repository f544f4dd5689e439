"""What a profile remembers of the last utterance, and when it forgets it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ugsd_sdk import Profile, ProfileChange
from ugsd_sdk.profile.clip_profile import ClipProfile
from ugsd_sdk.profile.matching import Enrolment, ProfileMatch
from ugsd_sdk.profile.profile_file import ProfileFile, delete_profile, reset_profile
from ugsd_sdk.profile.speaker_profile import ClipVoice
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.profile.usual_prosody import NO_PROSODY
from ugsd_sdk.profile.utterance import Utterance

from tests.doubles.prosodies import prosody_of

ENCODER, OTHER_ENCODER = b"\x01" * 32, b"\x02" * 32
ENROLMENT = Enrolment(3, 5.0)
ADA, BEN = 0.0, 5.0


def clip(take: int, speaker: float = ADA) -> ClipVoice:
    embedding = np.random.default_rng(take).normal(size=6).astype(np.float32)
    voice = np.array([speaker, 0.0], dtype=np.float32)
    return ClipVoice(embedding, 2.0, voice=voice, prosody=prosody_of(pitch_st=float(take)))


def utterance(take: int) -> Utterance:
    return Utterance(prosody_of(pitch_st=float(take)), arousal=0.0, ended_s=float(take))


def say(profile: Profile, take: int, speaker: float = ADA) -> ProfileChange:
    return profile.add(clip(take, speaker), ENCODER, ENROLMENT, utterance=utterance(take))


def filled(profile: Profile) -> Profile:
    for take in range(3):
        say(profile, take)
    return profile


@pytest.fixture(params=["held", "stored"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Profile:
    """A profile of three clips: an application's own, or that of a user."""
    if request.param == "held":
        return filled(Profile())
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    return filled(UserProfile(file, "ada", ENCODER))


def test_last_clip_of_the_speaker_is_remembered(profile: Profile) -> None:
    assert profile.previous_utterance() == utterance(2)
    assert say(profile, 3) is ProfileChange.ADDED
    assert profile.previous_utterance() == utterance(3)
    assert say(profile, 1) is ProfileChange.REPEATED
    assert profile.previous_utterance() == utterance(1)


def test_another_speaker_is_not_remembered(profile: Profile) -> None:
    assert say(profile, 9, BEN) is ProfileChange.NONE
    assert profile.previous_utterance() == utterance(2)


def test_restarted_profile_remembers_its_new_speaker() -> None:
    profile = Profile()
    say(profile, 0)
    assert say(profile, 1, BEN) is ProfileChange.RESTARTED
    assert profile.previous_utterance() == utterance(1)


def test_unmeasured_utterance_is_no_previous_one(profile: Profile) -> None:
    profile.add(clip(5), ENCODER, ENROLMENT)
    assert profile.previous_utterance() is None


def test_frozen_profile_remembers_no_utterance(profile: Profile) -> None:
    profile.freeze()
    assert profile.previous_utterance() is None
    say(profile, 5)
    assert profile.previous_utterance() is None
    profile.unfreeze()
    assert profile.previous_utterance() is None
    say(profile, 6)
    assert profile.previous_utterance() == utterance(6)


@pytest.mark.parametrize("forget", [Profile.reset, lambda profile: profile.forget()])
def test_reset_and_forget_drop_the_utterance(
    profile: Profile, forget: Callable[[Profile], None]
) -> None:
    forget(profile)
    assert profile.previous_utterance() is None


def test_another_encoder_drops_the_utterance() -> None:
    profile = filled(Profile())
    assert profile.state_for(OTHER_ENCODER)[1] is None
    assert profile.previous_utterance() is None


@pytest.mark.parametrize("forget", [reset_profile, delete_profile])
def test_other_process_drops_the_utterance(
    tmp_path: Path, forget: Callable[[Path, str], bool]
) -> None:
    profile = filled(UserProfile(ProfileFile(tmp_path, "ada", ENCODER), "ada", ENCODER))
    assert forget(tmp_path, "ada")
    contents, previous = profile.state_for(ENCODER)
    assert contents is not None
    assert (contents.count, previous) == (0, None)


def test_restart_by_another_process_drops_the_utterance(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    profile = UserProfile(file, "ada", ENCODER)
    say(profile, 0)
    ProfileFile(tmp_path, "ada", ENCODER).add(clip(1, BEN), ENROLMENT)
    assert profile.state_for(ENCODER)[1] is None


def test_clips_of_another_process_keep_the_utterance(tmp_path: Path) -> None:
    profile = filled(UserProfile(ProfileFile(tmp_path, "ada", ENCODER), "ada", ENCODER))
    ProfileFile(tmp_path, "ada", ENCODER).add(clip(7), ENROLMENT)
    contents, previous = profile.state_for(ENCODER)
    assert contents is not None
    assert (contents.count, previous) == (4, utterance(2))


def test_file_holds_no_utterance(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "copy.npz")
    assert Profile.load(tmp_path / "copy.npz").previous_utterance() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_remembers_no_utterance(profile: Profile) -> None:
    child = os.fork()
    if not child:
        os._exit(0 if profile.previous_utterance() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert profile.previous_utterance() == utterance(2)


def test_caption_compares_only_a_matching_clip(profile: Profile) -> None:
    used = ClipProfile(profile, ENCODER, ENROLMENT)
    say(profile, 3)
    assert used.usual(ProfileMatch.MATCHED).pitch_st.count == 3
    assert used.previous(ProfileMatch.MATCHED) == utterance(2), "that of the caption's start"
    for match in set(ProfileMatch) - {ProfileMatch.MATCHED}:
        assert used.usual(match) is NO_PROSODY
        assert used.previous(match) is None


def test_caption_returns_its_utterance(profile: Profile) -> None:
    used = ClipProfile(profile, ENCODER, ENROLMENT)
    late = replace(utterance(4), arousal=0.5)
    assert used.add(clip(4), timeout_s=1.0, utterance=late) is ProfileChange.ADDED
    assert profile.previous_utterance() == late


def test_caption_without_a_profile_compares_nothing() -> None:
    used = ClipProfile(None, ENCODER, ENROLMENT)
    assert used.usual(ProfileMatch.MATCHED) is NO_PROSODY
    assert used.previous(ProfileMatch.MATCHED) is None
    assert used.add(clip(0), timeout_s=1.0, utterance=utterance(0)) is ProfileChange.NONE


def test_repeated_recording_does_not_count_twice(profile: Profile) -> None:
    say(profile, 1)
    contents = profile.contents_for(ENCODER)
    assert contents is not None
    assert contents.usual.pitch_st.count == 3
    say(profile, 9, BEN)
    after = profile.contents_for(ENCODER)
    assert after is not None
    assert after.usual == contents.usual
