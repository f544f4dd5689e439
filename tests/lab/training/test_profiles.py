"""Speaker profiles of recorded speakers: those before each clip, and those that training draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip
from ugsd_lab.training.profiles import (
    MIN_ENROLMENT,
    ProfileSampler,
    in_recording_order,
    running_profiles,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.settings.config import Settings

_SPEAKERS = st.lists(
    st.tuples(st.sampled_from(["emodb", "nemo"]), st.sampled_from("ab")), min_size=1, max_size=14
)
"""Corpus and speaker of each clip; the corpora have speakers of the same names."""


def clip(number: int, corpus: str = "emodb", speaker: str = "a") -> Clip:
    path = Path(f"{number}.wav")
    return Clip(path, corpus, speaker, None, "German", "sad", None, "", "test")


def clips_of(speakers: Sequence[tuple[str, str]]) -> list[Clip]:
    return [clip(number, *of) for number, of in enumerate(speakers)]


def some_embeddings(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def same(one: SpeakerProfile, other: SpeakerProfile) -> bool:
    return one.count == other.count and np.array_equal(one.mean, other.mean)


def speaker_of(clip: Clip) -> tuple[str, str]:
    return clip.corpus, clip.speaker


@given(_SPEAKERS, st.data())
def test_profile_depends_on_earlier_clips_alone(
    speakers: list[tuple[str, str]], data: st.DataObject
) -> None:
    clips = clips_of(speakers)
    changed = data.draw(st.integers(0, len(clips) - 1))
    embeddings = some_embeddings(len(clips))
    before = running_profiles(clips, embeddings)
    embeddings[changed] += 1
    after = running_profiles(clips, embeddings)
    place = {index: place for place, index in enumerate(in_recording_order(clips))}
    for index, of in enumerate(clips):
        later = speaker_of(of) == speaker_of(clips[changed]) and place[index] > place[changed]
        assert same(before[index], after[index]) is not later


@given(_SPEAKERS)
def test_profile_averages_the_clips_before(speakers: list[tuple[str, str]]) -> None:
    clips, embeddings = clips_of(speakers), some_embeddings(len(speakers))
    profiles = running_profiles(clips, embeddings)
    earlier: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for index in in_recording_order(clips):
        own = earlier.setdefault(speaker_of(clips[index]), [])
        assert profiles[index].count == len(own)
        if own:
            np.testing.assert_allclose(profiles[index].mean, np.mean(own, axis=0), atol=1e-5)
        else:
            assert profiles[index] is EMPTY_PROFILE
        own.append(embeddings[index])


@given(_SPEAKERS, st.randoms(use_true_random=False))
def test_recording_order_depends_on_names_alone(
    speakers: list[tuple[str, str]], random: object
) -> None:
    clips = clips_of(speakers)
    shuffled = sorted(range(len(clips)), key=lambda _: random.random())  # type: ignore[attr-defined]
    again = [clips[i] for i in shuffled]
    assert [clips[i].id for i in in_recording_order(clips)] == [
        again[i].id for i in in_recording_order(again)
    ]
    embeddings = some_embeddings(len(clips))
    profiles = running_profiles(clips, embeddings)
    for index, profile in zip(shuffled, running_profiles(again, embeddings[shuffled]), strict=True):
        assert same(profile, profiles[index])


def test_recording_order_is_not_sorted_by_name() -> None:
    """A corpus names its clips by sentence and emotion, but a device meets them mixed."""
    clips = [clip(number) for number in range(40)]
    order = in_recording_order(clips)
    assert sorted(order) == list(range(40))
    assert abs(np.corrcoef(order, range(40))[0, 1]) < 0.4


def test_no_clips_give_no_profiles() -> None:
    assert running_profiles([], []) == []


def test_minimum_enrolment_is_the_devices() -> None:
    assert Settings().min_enrolment == MIN_ENROLMENT > 0


# -- what training draws

_LONE = 60
"""Row of the only clip of a speaker."""


@pytest.fixture(scope="module")
def many() -> list[Clip]:
    """Twenty clips each of three speakers, and one clip of a fourth."""
    names = [("emodb", "a"), ("emodb", "b"), ("nemo", "a")]
    return clips_of([names[number % 3] for number in range(_LONE)] + [("nemo", "c")])


def drawn(
    clips: Sequence[Clip], rows: Sequence[int], seed: int = 0, **options: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return profiles whose numbers are the share of each clip in them, and their trust."""
    speakers = ProfileSampler(clips, np.eye(len(clips), dtype=np.float32))
    rng = np.random.default_rng(seed)
    return speakers.draw(np.array(rows, dtype=np.int64), rng, **options)


def test_drawn_profile_averages_other_clips_of_the_speaker(many: list[Clip]) -> None:
    rows = list(range(_LONE)) * 4
    profiles, trust = drawn(many, rows)
    for row, profile, trusted in zip(rows, profiles, trust, strict=True):
        averaged = np.flatnonzero(profile)
        assert row not in averaged
        assert {speaker_of(many[other]) for other in averaged} <= {speaker_of(many[row])}
        np.testing.assert_allclose(profile[averaged], 1 / max(1, len(averaged)), rtol=1e-6)
        assert trusted == np.float32(SpeakerProfile(len(averaged), profile).weight)


def test_drawn_profiles_hold_few_and_many_clips(many: list[Clip]) -> None:
    profiles, _ = drawn(many, [0] * 600, unenrolled_share=0)
    counts = Counter(np.count_nonzero(profiles, axis=1).tolist())
    assert min(counts) == MIN_ENROLMENT
    assert max(counts) == 19, "all others"
    assert len(counts) >= 4


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 1.0])
def test_unenrolled_share_has_no_profile(many: list[Clip], share: float) -> None:
    profiles, trust = drawn(many, list(range(_LONE)) * 50, unenrolled_share=share)
    unenrolled = ~profiles.any(axis=1)
    np.testing.assert_array_equal(unenrolled, trust == 0)
    assert unenrolled.mean() == pytest.approx(share, abs=0.03)


def test_speaker_of_one_clip_has_no_profile(many: list[Clip]) -> None:
    profiles, trust = drawn(many, [_LONE] * 20, unenrolled_share=0)
    assert not profiles.any()
    assert not trust.any()


def test_same_generator_draws_the_same_profiles(many: list[Clip]) -> None:
    rows = list(range(_LONE))
    first, again, other = drawn(many, rows), drawn(many, rows), drawn(many, rows, seed=1)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
