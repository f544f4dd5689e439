"""The bytes of a stored profile: formats 2 and 3, and hostile statistics."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk import Profile
from ugsd_sdk.profile.matching import Enrolment
from ugsd_sdk.profile.profile_format import (
    DamagedProfile,
    OtherFormat,
    StoredProfile,
    pack_profile,
    unpack_profile,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.profile.usual_prosody import MAX_MEASURE, NO_PROSODY, UsualProsody

from tests.doubles.prosodies import prosody_of

ENCODER = b"\x01" * 32
USUAL_FIELDS = ("usual_count", "usual_mean", "usual_mean_square_deviation")
_VALUES = st.none() | st.floats(-MAX_MEASURE, MAX_MEASURE)


def clip(take: int, *measures: float | None) -> ClipVoice:
    embedding = np.random.default_rng(take).normal(size=4).astype(np.float32)
    return ClipVoice(embedding, duration_s=2.0, prosody=prosody_of(*measures))


def profile_of(clips: list[ClipVoice]) -> SpeakerProfile:
    profile = EMPTY_PROFILE
    for one in clips:
        profile = profile.updated(one)
    return profile


def packed(**changes: np.ndarray) -> bytes:
    """Return a file of three clips with some arrays replaced."""
    profile = profile_of([clip(take, 5.0 + take, 4.0, None) for take in range(3)])
    with np.load(io.BytesIO(pack_profile(StoredProfile(ENCODER.hex(), profile)))) as valid:
        fields = dict(valid) | changes
    return saved(fields)


def saved(fields: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **fields)
    return file.getvalue()


def format_2() -> bytes:
    with np.load(io.BytesIO(packed())) as valid:
        fields = {name: valid[name] for name in valid.files if name not in USUAL_FIELDS}
    return saved(fields | {"format": np.int64(2)})


@given(st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=1, max_size=60))
def test_stored_statistics_are_read_as_they_were(clips: list[tuple[float | None, ...]]) -> None:
    profile = profile_of([clip(take, *measures) for take, measures in enumerate(clips)])
    again = unpack_profile(pack_profile(StoredProfile(ENCODER.hex(), profile))).contents
    assert again.usual == profile.usual
    assert again.count == profile.count


def test_format_2_is_read_without_loss(tmp_path: Path) -> None:
    before, after = (unpack_profile(data).contents for data in (packed(), format_2()))
    assert before.usual != NO_PROSODY
    assert after.usual == NO_PROSODY
    assert (after.count, after.duration_s) == (before.count, before.duration_s) == (3, 6.0)
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.recent, before.recent)
    file = tmp_path / "ada.npz"
    file.write_bytes(format_2())
    profile = Profile.load(file)
    assert not profile.has_set_aside
    profile.add(clip(7, 3.0), ENCODER, Enrolment(3, 5.0))
    profile.save()
    contents = Profile.load(file).contents_for(ENCODER)
    assert contents is not None
    assert (contents.count, contents.usual.pitch_st.count) == (4, 1)


@pytest.mark.parametrize("number", [0, 1, 4, 2**40])
def test_other_formats_are_not_read(number: int) -> None:
    with pytest.raises(OtherFormat):
        unpack_profile(packed(format=np.int64(number)))


@pytest.mark.parametrize(
    "fields",
    [
        {"format": np.array([2, 3])},
        {"format": np.array(["3"])},
        {"usual_count": np.array([3, 3, -1])},
        {"usual_count": np.array([4, 3, 0])},
        {"usual_count": np.array([3.0, 3.0, 0.0])},
        {"usual_count": np.array([3, 3])},
        {"usual_count": np.int64(3)},
        {"usual_mean": np.array([np.nan, 0.0, 0.0])},
        {"usual_mean": np.array([np.inf, 0.0, 0.0])},
        {"usual_mean": np.array([2 * MAX_MEASURE, 0.0, 0.0])},
        {"usual_mean": np.zeros(3, dtype=np.float32)},
        {"usual_mean": np.zeros((3, 1))},
        {"usual_mean_square_deviation": np.array([-1.0, 0.0, 0.0])},
        {"usual_mean_square_deviation": np.array([np.nan, 0.0, 0.0])},
        {"usual_mean_square_deviation": np.array([1e9, 0.0, 0.0])},
        {"usual_mean_square_deviation": np.zeros(4)},
    ],
)
def test_invalid_statistics_are_damage(fields: dict[str, np.ndarray]) -> None:
    with pytest.raises(DamagedProfile):
        unpack_profile(packed(**fields))


@pytest.mark.parametrize("missing", USUAL_FIELDS)
def test_missing_statistics_are_damage(missing: str) -> None:
    with np.load(io.BytesIO(packed())) as valid:
        fields = {name: valid[name] for name in valid.files if name != missing}
    with pytest.raises(DamagedProfile):
        unpack_profile(saved(fields))


def test_statistics_without_clips_are_empty() -> None:
    changes = {"usual_mean": np.ones(3), "usual_count": np.zeros(3, dtype=np.int64)}
    assert unpack_profile(packed(**changes)).contents.usual == NO_PROSODY == UsualProsody()
