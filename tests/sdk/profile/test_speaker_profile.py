"""The contents of a speaker profile: averages of its clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ugsd_sdk.drafter.gender_phrases import gender_from
from ugsd_sdk.profile.speaker_profile import (
    EMPTY_PROFILE,
    RECENT_CLIPS,
    ClipVoice,
    SpeakerProfile,
)

_NUMBERS = st.floats(-100, 100, width=32)
_CLIPS = st.lists(
    st.builds(
        ClipVoice,
        arrays(np.float32, 5, elements=_NUMBERS),
        duration_s=st.floats(0, 100),
        voice=arrays(np.float32, 3, elements=_NUMBERS),
        femininity=_NUMBERS,
    ),
    min_size=1,
    max_size=40,
)


@given(_CLIPS)
def test_profile_is_the_average_of_clips(clips: list[ClipVoice]) -> None:
    profile = EMPTY_PROFILE
    for clip in clips:
        profile = profile.updated(clip)
    assert profile.count == len(clips)
    assert profile.duration_s == pytest.approx(sum(clip.duration_s for clip in clips))
    assert profile.femininity == pytest.approx(np.mean([c.femininity for c in clips]), abs=1e-3)
    np.testing.assert_allclose(profile.mean, np.mean([c.embedding for c in clips], 0), atol=1e-3)
    np.testing.assert_allclose(profile.voice, np.mean([c.voice for c in clips], 0), atol=1e-3)
    np.testing.assert_array_equal(
        profile.recent, [clip.embedding for clip in clips[-RECENT_CLIPS:]]
    )


def test_old_clips_fade() -> None:
    profile = EMPTY_PROFILE
    for level in [0.0] * 200 + [1.0] * 200:
        profile = profile.updated(
            ClipVoice(
                np.full(3, level, dtype=np.float32), voice=np.full(2, level), femininity=level
            )
        )
    assert profile.mean.min() > 0.95
    assert profile.voice.min() > 0.95
    assert profile.femininity is not None
    assert profile.femininity > 0.95


def test_weight_grows_with_every_clip() -> None:
    weights = [SpeakerProfile(count, np.zeros(1, dtype=np.float32)).weight for count in range(60)]
    assert weights[0] == 0
    assert weights == sorted(set(weights))
    assert weights[-1] < 1


@pytest.mark.parametrize(
    ("odds", "gender"),
    [(3.0, "female"), (1.4, "female"), (1.3, None), (-1.3, None), (-1.4, "male"), (None, None)],
)
def test_gender_needs_odds_of_four_to_one(odds: float | None, gender: str | None) -> None:
    assert gender_from(odds) == gender
    assert gender_from(float("nan")) is None
