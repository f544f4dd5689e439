"""The profile that an application holds."""

from __future__ import annotations

import stat
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from ugsd_sdk import Profile, ProfileChange, ProfileError
from ugsd_sdk.profile.matching import Enrolment
from ugsd_sdk.profile.set_aside import aside_path
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice

ENCODER, OTHER_ENCODER = b"\x01" * 32, b"\x02" * 32
ENROLMENT = Enrolment(3, 5.0)
ASIDE = aside_path(Path("ada.npz"), ENCODER.hex()).name


def clip(take: int) -> ClipVoice:
    rng = np.random.default_rng(take)
    return ClipVoice(
        rng.normal(size=6).astype(np.float32),
        duration_s=2.0,
        voice=rng.uniform(0, 0.5, 3).astype(np.float32),
        femininity=2.0,
    )


def filled(count: int = 3) -> Profile:
    profile = Profile()
    for take in range(count):
        assert profile.add(clip(take), ENCODER, ENROLMENT) is ProfileChange.ADDED
    return profile


def same(one: Profile, other: Profile) -> bool:
    a, b = one.contents_for(ENCODER), other.contents_for(ENCODER)
    assert a is not None
    assert b is not None
    return (a.count, a.duration_s, a.femininity) == (b.count, b.duration_s, b.femininity) and all(
        np.array_equal(x, y)
        for x, y in ((a.mean, b.mean), (a.voice, b.voice), (a.recent, b.recent))
    )


def test_new_profile_is_empty_and_in_memory() -> None:
    profile = Profile()
    assert (profile.num_clips, profile.duration_s, profile.path) == (0, 0.0, None)
    assert not profile.is_frozen
    assert not profile.is_enrolled()
    assert profile.is_enrolled(min_clips=0)


def test_saved_profile_is_loaded_as_it_was(tmp_path: Path) -> None:
    profile, file = filled(4), tmp_path / "ada.npz"
    profile.save(file)
    again = Profile.load(file)
    assert same(profile, again)
    assert again.is_enrolled()
    assert again.path == profile.path == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert again.add(clip(3), ENCODER, ENROLMENT) is ProfileChange.REPEATED


def test_empty_profile_can_be_saved(tmp_path: Path) -> None:
    Profile().save(tmp_path / "new.npz")
    assert Profile.load(tmp_path / "new.npz").contents_for(ENCODER) is EMPTY_PROFILE


def test_file_changes_only_when_saved(tmp_path: Path) -> None:
    profile, file = filled(), tmp_path / "ada.npz"
    profile.save(file)
    profile.add(clip(7), ENCODER, ENROLMENT)
    assert Profile.load(file).num_clips == 3
    profile.save()
    assert Profile.load(file).num_clips == 4
    profile.reset()
    assert profile.num_clips == 0
    assert Profile.load(file).num_clips == 4
    profile.save()
    assert Profile.load(file).num_clips == 0


def test_frozen_profile_does_not_change() -> None:
    profile = filled()
    before = profile.contents_for(ENCODER)
    profile.freeze()
    assert profile.add(clip(7), ENCODER, ENROLMENT) is ProfileChange.NONE
    assert profile.contents_for(ENCODER) is before
    profile.unfreeze()
    assert profile.add(clip(7), ENCODER, ENROLMENT) is ProfileChange.ADDED


def test_forgotten_profile_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "ada.npz"
    profile = filled()
    profile.save(file)
    Profile.load(file).contents_for(OTHER_ENCODER)
    assert [place.name for place in tmp_path.iterdir()] == [ASIDE]
    profile.forget()
    assert list(tmp_path.iterdir()) == []
    assert (profile.num_clips, profile.path) == (0, None)
    profile.forget()


def test_loaded_profile_of_another_encoder_is_kept_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ada.npz"
    filled().save(file)
    before = file.read_bytes()
    profile = Profile.load(file)
    assert profile.contents_for(OTHER_ENCODER) is EMPTY_PROFILE
    assert profile.has_set_aside
    assert (tmp_path / ASIDE).read_bytes() == before
    assert "taken up again with the drafter that made it" in caplog.text
    profile.add(clip(0), OTHER_ENCODER, ENROLMENT)
    profile.save()
    assert Profile.load(file).num_clips == 1


def test_profile_returns_with_its_encoder(tmp_path: Path) -> None:
    file = tmp_path / "ada.npz"
    filled().save(file)
    profile = Profile.load(file)
    profile.add(clip(7), ENCODER, ENROLMENT)
    profile.add(clip(0), OTHER_ENCODER, ENROLMENT)
    assert profile.contents_for(ENCODER).count == 4, "with the clip that was not saved"
    assert not profile.has_set_aside
    assert profile.contents_for(OTHER_ENCODER).count == 1
    assert [place.name for place in tmp_path.iterdir()] == [ASIDE]
    again = Profile.load(file)
    assert again.num_clips == 0
    assert again.contents_for(ENCODER).count == 3
    assert [place.name for place in tmp_path.iterdir()] == ["ada.npz"]


def test_reset_profile_takes_nothing_up(tmp_path: Path) -> None:
    file = tmp_path / "ada.npz"
    filled().save(file)
    profile = Profile.load(file)
    profile.contents_for(OTHER_ENCODER)
    profile.reset()
    assert profile.contents_for(ENCODER) is EMPTY_PROFILE
    profile.save()
    assert [place.name for place in tmp_path.iterdir()] == ["ada.npz"]


def test_frozen_profile_of_another_encoder_is_not_used() -> None:
    profile = filled()
    profile.freeze()
    assert profile.contents_for(OTHER_ENCODER) is None
    assert profile.num_clips == 3


def test_profile_in_memory_begins_again_with_another_encoder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    profile = filled()
    assert profile.add(clip(0), OTHER_ENCODER, ENROLMENT) is ProfileChange.ADDED
    assert profile.num_clips == 1
    assert profile.has_set_aside
    assert "taken up again with the drafter that made it" in caplog.text


def test_file_of_the_first_format_is_kept_aside(tmp_path: Path) -> None:
    file = tmp_path / "ada.npz"
    np.savez(file, count=np.int64(5), mean=np.ones(4, dtype=np.float32), ears=ENCODER.hex())
    profile = Profile.load(file)
    assert profile.has_set_aside
    assert profile.num_clips == 0
    (aside,) = tmp_path.iterdir()
    assert aside.name.startswith("ada.unused-")


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, "begin with Profile"), (b"", "delete it"), (b"PK\x03\x04 no profile", "delete it")],
)
def test_unreadable_file_names_its_remedy(tmp_path: Path, data: bytes | None, message: str) -> None:
    file = tmp_path / "ada.npz"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(ProfileError, match=message):
        Profile.load(file)


def test_profile_without_a_file_needs_a_path() -> None:
    with pytest.raises(ProfileError, match=r"give save\(\) a path"):
        Profile().save()


def test_threads_lose_no_clip() -> None:
    profile = Profile()

    def add_clips(first: int) -> None:
        for take in range(first, first + 25):
            profile.add(clip(take), ENCODER, ENROLMENT)

    threads = [Thread(target=add_clips, args=(25 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert profile.num_clips == 100
