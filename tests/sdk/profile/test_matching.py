"""The rules by which a clip belongs to a profile, and changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.matching import (
    Enrolment,
    ProfileChange,
    ProfileMatch,
    has_several_speakers,
    is_repeated,
    match_profile,
    profile_after,
    voice_distance,
    windows_distance,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from tests.doubles.speech import recorded_clips

ENROLMENT = Enrolment(min_clips=3, min_duration_s=5.0)
SPEAKERS = {"ada": 0.0, "ben": 5.0, "cleo": 10.0}


def clip_of(speaker: str, take: int, *, duration_s: float = 2.0) -> ClipVoice:
    """Return a clip whose voice is near its speaker's, and whose embedding is unlike others."""
    rng = np.random.default_rng((take, len(speaker)))
    voice = SPEAKERS[speaker] + 0.2 * rng.uniform(-1, 1, 2)
    return ClipVoice(
        rng.normal(size=12).astype(np.float32), duration_s, voice=voice.astype(np.float32)
    )


def profile_of(clips: list[ClipVoice]) -> SpeakerProfile:
    profile = EMPTY_PROFILE
    for clip in clips:
        profile, _ = profile_after(clip, profile, ENROLMENT)
    return profile


def voices(*rows: float) -> NDArray[np.float32]:
    return np.array([[row, 0.0] for row in rows], dtype=np.float32)


@given(st.permutations(range(8)))
def test_order_of_one_speakers_clips_does_not_matter(order: list[int]) -> None:
    profile = profile_of([clip_of("ada", take) for take in order])
    assert profile.count == 8
    assert profile.duration_s == 16.0
    expected = np.mean([clip_of("ada", take).embedding for take in range(8)], axis=0)
    np.testing.assert_allclose(profile.mean, expected, atol=1e-5)


@given(st.lists(st.tuples(st.sampled_from(sorted(SPEAKERS)), st.integers(0, 30)), max_size=30))
def test_profile_holds_different_clips_of_one_speaker(heard: list[tuple[str, int]]) -> None:
    """Whoever speaks in whatever order: the profile is of one speaker, and once enrolled of the
    first who gave enough clips without another speaker between them."""
    profile, owner, takes = EMPTY_PROFILE, "", set[int]()
    for speaker, take in heard:
        is_enrolled = ENROLMENT.is_reached(profile)
        profile, change = profile_after(clip_of(speaker, take), profile, ENROLMENT)
        if speaker == owner or not takes:
            expected = ProfileChange.REPEATED if take in takes else ProfileChange.ADDED
        else:
            expected = ProfileChange.NONE if is_enrolled else ProfileChange.RESTARTED
        if change is ProfileChange.REPEATED:
            assert speaker == owner
            assert take in takes
            continue
        if expected is ProfileChange.REPEATED:  # the recording is older than those it remembers
            assert profile.count > 10
            expected = ProfileChange.ADDED
        assert change is expected
        if change is ProfileChange.RESTARTED:
            takes.clear()
        if change is not ProfileChange.NONE:
            owner = speaker
            takes.add(take)
        assert voice_distance(profile.voice, profile_of([clip_of(owner, 99)])) < 1


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2)), max_size=20))
def test_people_who_take_turns_never_enrol(turns: list[tuple[int, int]]) -> None:
    """Each turn is one or two clips of the next or the second next speaker."""
    profile, take, at = EMPTY_PROFILE, 0, 0
    for num_clips, step in turns:
        at += step
        for _ in range(num_clips):
            clip = clip_of(sorted(SPEAKERS)[at % 3], take, duration_s=60.0)
            profile, _ = profile_after(clip, profile, ENROLMENT)
            take += 1
            assert not ENROLMENT.is_reached(profile)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_repeated_recordings_count_once(takes: list[int]) -> None:
    profile = profile_of([clip_of("ada", take) for take in takes])
    assert profile.count == len(set(takes))


def test_enrolled_profile_keeps_its_speaker() -> None:
    enrolled = profile_of([clip_of("ada", take) for take in range(3)])
    for take in range(5):
        after, change = profile_after(clip_of("ben", take), enrolled, ENROLMENT)
        assert after is enrolled
        assert change is ProfileChange.NONE
        assert match_profile(clip_of("ben", take), enrolled) is ProfileMatch.DIFFERENT_SPEAKER


def test_unenrolled_profile_begins_again_with_another_speaker() -> None:
    begun = profile_of([clip_of("ada", take) for take in range(2)])
    after, change = profile_after(clip_of("ben", 0), begun, ENROLMENT)
    assert change is ProfileChange.RESTARTED
    assert after.count == 1
    np.testing.assert_array_equal(after.mean, clip_of("ben", 0).embedding)
    assert len(after.recent) == 1


@pytest.mark.parametrize(("count", "matches"), [(1, True), (2, False), (50, False)])
def test_distance_allows_for_the_noise_of_few_clips(count: int, matches: bool) -> None:
    """An average of more clips is more certain."""
    profile = SpeakerProfile(count, np.zeros(12, dtype=np.float32), voice=np.zeros(2, np.float32))
    near = ClipVoice(np.ones(12, np.float32), voice=np.array([0.85, 0.0], dtype=np.float32))
    assert voice_distance(near.voice, profile) == pytest.approx(0.85 / np.sqrt((1 + 1 / count) / 2))
    expected = ProfileMatch.MATCHED if matches else ProfileMatch.DIFFERENT_SPEAKER
    assert match_profile(near, profile) is expected


def test_voice_that_is_not_a_number_does_not_match() -> None:
    profile = profile_of([clip_of("ada", 0)])
    broken = ClipVoice(np.ones(12, np.float32), voice=np.full(2, np.nan, dtype=np.float32))
    assert match_profile(broken, profile) is ProfileMatch.DIFFERENT_SPEAKER


def test_profile_with_other_vectors_matches_nobody() -> None:
    """A profile without a voice, or with one of another length, is no key to everybody's clips."""
    clip = clip_of("ada", 0)
    for voice in (np.zeros(0, np.float32), np.zeros(1, np.float32)):
        crafted = SpeakerProfile(3, clip.embedding, duration_s=10.0, voice=voice)
        assert match_profile(clip, crafted) is ProfileMatch.DIFFERENT_SPEAKER
    other_length = SpeakerProfile(3, np.zeros(5, np.float32), voice=clip.voice)
    assert match_profile(clip, other_length) is ProfileMatch.DIFFERENT_SPEAKER


def test_window_that_is_not_a_number_does_not_match() -> None:
    profile, own = profile_of([clip_of("ada", 0)]), clip_of("ada", 1)
    windows = np.full((1, len(own.voice)), np.nan, dtype=np.float32)
    broken = ClipVoice(own.embedding, 4.0, voice=own.voice, windows=windows)
    assert match_profile(broken, profile) is ProfileMatch.SEVERAL_SPEAKERS


def test_window_of_somebody_else_is_several_speakers() -> None:
    profile = profile_of([clip_of("ada", take) for take in range(4)])
    own, other = clip_of("ada", 5), clip_of("ben", 5)
    mixed = ClipVoice(own.embedding, 4.0, voice=own.voice, windows=np.stack([other.voice]))
    assert match_profile(mixed, profile) is ProfileMatch.SEVERAL_SPEAKERS


def test_without_voice_vectors_every_clip_matches() -> None:
    profile = profile_of([ClipVoice(clip_of("ada", 0).embedding)])
    assert match_profile(ClipVoice(clip_of("ben", 0).embedding), profile) is ProfileMatch.MATCHED


@pytest.mark.parametrize(
    ("windows", "several"),
    [
        ((0, 5), True),
        ((0, 0.3, 5, 5.2), True),
        ((0, 5, 0.2, 5.1, 0.1), True),
        ((5, 0, 0, 0, 0, 0, 0, 0), True),
        ((0, 0.5), False),
        ((0, 0.3, 0.7, 0.2, 0.5, 0.6, 0.1), False),
        ((0, 0, 0), False),
        ((0,), False),
    ],
)
def test_windows_of_two_voices_are_several_speakers(
    windows: tuple[float, ...], several: bool
) -> None:
    clip = ClipVoice(np.ones(3, np.float32), windows=voices(*windows))
    assert has_several_speakers(clip) is several


def test_distance_of_windows_is_that_of_their_voices() -> None:
    def distance(*windows: float) -> float:
        return windows_distance(ClipVoice(np.ones(3, np.float32), windows=voices(*windows)))

    assert distance(0, 4) == pytest.approx(4)
    assert distance(0, 4, 4, 0.0, 4) == pytest.approx(4 / np.sqrt((1 / 2 + 1 / 3) / 2))
    assert distance(3) == distance(3, 3, 3) == 0
    assert windows_distance(ClipVoice(np.ones(3, np.float32))) == 0


def test_clip_of_several_speakers_changes_no_profile() -> None:
    mixed = ClipVoice(clip_of("ada", 1).embedding, 4.0, voice=voices(2.5)[0], windows=voices(0, 5))
    for before in (EMPTY_PROFILE, profile_of([clip_of("ada", take) for take in range(4)])):
        assert profile_after(mixed, before, ENROLMENT) == (before, ProfileChange.NONE)
        assert match_profile(mixed, before) is ProfileMatch.SEVERAL_SPEAKERS


@pytest.mark.skipif(
    not (DrafterBundle.of(STARTER).folder / "reader.onnx").exists(), reason="needs the starter"
)
def test_real_recordings_are_told_from_their_copies() -> None:
    """Other levels and silence around a recording leave it the same; other recordings differ."""
    drafter, detector = OnnxDrafter(DrafterBundle.of(STARTER).folder), VoiceActivityDetector()
    drafter.load()

    def voice_of(samples: NDArray[np.float32]) -> ClipVoice:
        return ClipVoice(drafter.embed(detector.find(samples).samples(samples)))

    clips = recorded_clips()
    profile = EMPTY_PROFILE
    for clip in clips[:4]:
        assert not is_repeated(voice_of(clip), profile)
        profile = profile.updated(voice_of(clip))
    for clip in clips[:4]:
        padded = np.concatenate([np.zeros(5_000, np.float32), clip, np.zeros(9_000, np.float32)])
        for copy in (clip, 0.25 * clip, 0.5 * clip, 1.5 * clip, padded):
            assert is_repeated(voice_of(copy), profile)
    for clip in clips[4:]:
        assert not is_repeated(voice_of(clip), profile)
