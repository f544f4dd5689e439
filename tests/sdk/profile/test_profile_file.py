"""The files of users' speaker profiles, their locks, and the commands on them."""

from __future__ import annotations

import errno
import json
import shutil
import stat
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    EnrolmentGuard,
    Escalate,
    KeepLocal,
)
from ugsd_sdk.errors import ProfileError
from ugsd_sdk.profile.matching import Enrolment
from ugsd_sdk.profile.profile_file import (
    ProfileFile,
    delete_profile,
    reset_profile,
    stored_profile,
)
from ugsd_sdk.profile.profile_format import StoredProfile, pack_profile
from ugsd_sdk.profile.set_aside import aside_path, files_aside, set_aside, take_up
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.profile.user_profile import UserProfile

from tests.doubles.lock_holder import Hold
from tests.doubles.prosodies import prosody_of

ENCODER, OTHER_ENCODER = b"\x01" * 32, b"\x02" * 32
ENROLMENT = Enrolment(3, 5.0)


def clip(take: int = 0, size: int = 4) -> ClipVoice:
    """Return a clip unlike those of other takes."""
    embedding = np.random.default_rng(take).normal(size=size).astype(np.float32)
    return ClipVoice(embedding, duration_s=2.0)


def store(file: ProfileFile, count: int, *, size: int = 4, first: int = 0) -> None:
    for take in range(first, first + count):
        file.add(clip(take, size), ENROLMENT)


def user_profile(folder: Path, user: str = "ada", encoder: bytes = ENCODER) -> UserProfile:
    return UserProfile(ProfileFile(folder, user, encoder), user, encoder)


def add(profile: UserProfile, take: int) -> None:
    profile.add(clip(take), ENCODER, ENROLMENT)


def test_profile_is_stored_for_its_owner_only(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    profile = user_profile(tmp_path / "habits")
    for take in range(3):
        add(profile, take)
    again = ProfileFile(tmp_path / "habits", "ada", ENCODER).open()
    assert again.count == 3
    assert again.duration_s == 6.0
    expected = np.mean([clip(take).embedding for take in range(3)], axis=0)
    np.testing.assert_allclose(again.mean, expected, atol=1e-6)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert "ada" not in file.path.name


def test_users_do_not_share_profiles(tmp_path: Path) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 5)
    assert ProfileFile(tmp_path, "bob", ENCODER).open() is EMPTY_PROFILE


def test_profile_of_another_encoder_is_kept_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5)
    before = file.path.read_bytes()
    profile = user_profile(tmp_path, encoder=OTHER_ENCODER)
    assert profile.contents_for(OTHER_ENCODER) is EMPTY_PROFILE
    assert profile.has_set_aside
    assert aside_path(file.path, ENCODER.hex()).read_bytes() == before
    assert "taken up again with the drafter that made it" in caplog.text
    store(ProfileFile(tmp_path, "ada", OTHER_ENCODER), 2)
    assert ProfileFile(tmp_path, "ada", OTHER_ENCODER).open().count == 2


def test_profile_returns_with_its_drafter(tmp_path: Path) -> None:
    for turn, clips in enumerate((5, 2, 0, 0, 1)):
        encoder = (ENCODER, OTHER_ENCODER)[turn % 2]
        file = ProfileFile(tmp_path, "ada", encoder)
        before = file.open()
        assert before.count == (0, 0, 5, 2, 5)[turn]
        assert file.has_set_aside == (turn == 1)
        store(file, clips, first=before.count)
        assert file.open().count == before.count + clips
        assert len(files_aside(file.path)) == (turn > 0)
    assert stored_profile(tmp_path, "ada").count == 6


def test_set_aside_profiles_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ada.npz"
    for data in (b"first", b"second", b"third", b"third"):
        path.write_bytes(data)
        set_aside(path, ENCODER.hex(), OTHER_ENCODER.hex())
        path.write_bytes(data)
        set_aside(path, None, OTHER_ENCODER.hex())
    kept = sorted(one.read_bytes() for one in files_aside(path))
    assert kept == sorted([b"first", b"second", b"third"] * 2)
    assert take_up(path, ENCODER.hex())
    assert path.read_bytes() == b"first"
    assert not take_up(path, ENCODER.hex())


def test_file_with_a_similar_name_is_not_touched(tmp_path: Path) -> None:
    for name in ("ada.backup.npz", "ada2.encoder-0123456789ab.npz", "a*.npz"):
        (tmp_path / name).write_bytes(b"own")
    assert files_aside(tmp_path / "ada.npz") == files_aside(tmp_path / "a*.npz") == []


def test_reset_deletes_what_was_set_aside(tmp_path: Path) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 5)
    store(ProfileFile(tmp_path, "ada", OTHER_ENCODER), 1)
    assert reset_profile(tmp_path, "ada")
    assert ProfileFile(tmp_path, "ada", ENCODER).open() is EMPTY_PROFILE


def test_profile_of_the_first_format_is_kept_aside(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    first = {"count": np.int64(5), "mean": np.ones(4, dtype=np.float32), "ears": ENCODER.hex()}
    np.savez(file.path, **first)
    before = file.path.read_bytes()
    assert file.open() is EMPTY_PROFILE
    assert file.has_set_aside
    (aside,) = files_aside(file.path)
    assert ".unused-" in aside.name
    assert aside.read_bytes() == before


def test_profile_is_kept_aside_when_a_clip_is_added(tmp_path: Path, hold: Hold) -> None:
    """If another process held the lock when it was opened."""
    pytest.importorskip("fcntl")
    store(ProfileFile(tmp_path, "ada", ENCODER), 5)
    file = ProfileFile(tmp_path, "ada", OTHER_ENCODER)
    end = hold("file", file.path.with_suffix(".lock"))
    assert file.open(timeout_s=0.1) is EMPTY_PROFILE
    assert not file.has_set_aside
    end()
    store(file, 1)
    assert file.has_set_aside
    assert file.open().count == 1


@pytest.mark.parametrize("cut", [0, 1, 10, 200])
def test_damaged_profile_is_replaced(tmp_path: Path, cut: int) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5, size=400)
    file.path.write_bytes(file.path.read_bytes()[:cut])
    assert file.open() is EMPTY_PROFILE


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1))
def test_flipped_bits_never_raise(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    file = ProfileFile(tmp_path_factory.mktemp("habits"), "ada", ENCODER)
    store(file, 5, size=40)
    data = bytearray(file.path.read_bytes())
    for at, flip in flips:
        data[at % len(data)] ^= flip
    file.path.write_bytes(data)
    assert np.isfinite(file.open().mean).all()


def test_profile_with_nan_is_replaced(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    broken = SpeakerProfile(5, np.full(4, np.nan, dtype=np.float32))
    file.path.write_bytes(pack_profile(StoredProfile(ENCODER.hex(), broken)))
    assert file.open() is EMPTY_PROFILE


def test_unstorable_profile_lasts_for_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "habits").write_text("a file where a folder should be")
    profile = user_profile(tmp_path / "habits")
    for take in range(2):
        add(profile, take)
    assert profile.num_clips == 2
    assert len(caplog.records) == 1
    with pytest.raises(ProfileError):
        ProfileFile(tmp_path / "habits", "ada", ENCODER).add(clip(), ENROLMENT)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": np.float64(np.inf)},
        {"count": np.int64(-1)},
        {"count": np.int64(2**62)},
        {"count": np.arange(3)},
        {"mean": np.ones((2, 2), dtype=np.float32)},
        {"mean": np.ones(4)},
        {"mean": np.array(["x"])},
        {"duration_s": np.float64(np.nan)},
        {"femininity": np.float64(np.inf)},
        {"voice": np.ones(4)},
        {"recent": np.ones((11, 4), dtype=np.float32)},
        {"recent": np.ones((2, 3), dtype=np.float32)},
        {"format": np.float64(2)},
    ],
)
def test_profile_with_invalid_fields_is_replaced(
    tmp_path: Path, fields: dict[str, np.ndarray]
) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 3)
    with np.load(file.path) as valid:
        np.savez(file.path, **(dict(valid) | fields))
    assert file.open() is EMPTY_PROFILE
    assert file.add(clip(), ENROLMENT)[0].count == 1


def test_profile_with_huge_header_is_replaced(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    header = header.ljust(118) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(file.path, "w") as archive:
        for name in ("format.npy", "count.npy", "mean.npy"):
            archive.writestr(name, npy)
    assert file.open() is EMPTY_PROFILE


def test_profile_of_another_length_is_kept_aside(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5)
    assert file.add(clip(size=7), ENROLMENT)[0].count == 1
    assert len(files_aside(file.path)) == 1


def test_two_processes_share_one_profile(tmp_path: Path) -> None:
    profiles = [user_profile(tmp_path) for _ in range(2)]
    for turn in range(6):
        add(profiles[turn % 2], turn)
    assert stored_profile(tmp_path, "ada").count == 6
    for profile in profiles:
        assert profile.contents_for(ENCODER).count == 6


def test_processes_do_not_count_one_recording_twice(tmp_path: Path) -> None:
    for profile in [user_profile(tmp_path) for _ in range(2)]:
        add(profile, 0)
    assert stored_profile(tmp_path, "ada").count == 1


def test_threads_lose_no_clip(tmp_path: Path) -> None:
    def add_clips(first: int) -> None:
        store(ProfileFile(tmp_path, "ada", ENCODER), 20, first=first)

    threads = [threading.Thread(target=add_clips, args=(20 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored_profile(tmp_path, "ada").count == 80


def test_stopped_lock_holder_costs_a_bounded_wait(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr("ugsd_sdk.profile.profile_file._LOCK_TIMEOUT_S", 0.2)
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 1)
    end = hold("file", file.path.with_suffix(".lock"))
    started_s = time.monotonic()
    assert file.add(clip(1), ENROLMENT, timeout_s=0.1) is None
    with pytest.raises(ProfileError, match="another process"):
        delete_profile(tmp_path, "ada")
    assert time.monotonic() - started_s < 2.0, "less than the timeout that is replaced above"
    end()
    assert file.add(clip(1), ENROLMENT)[0].count == 2


def test_folder_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    monkeypatch.setattr("ugsd_sdk.profile.profile_file.require_not_writable", checked.append)
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    store(file, 3)
    assert checked == [tmp_path / "habits"]
    shutil.rmtree(tmp_path / "habits")
    store(file, 1)
    assert len(checked) == 2, "a new folder is checked, too"


def test_running_captioner_does_not_restore_deleted_profile(tmp_path: Path) -> None:
    profile = user_profile(tmp_path)
    for take in range(4):
        add(profile, take)
    assert delete_profile(tmp_path, "ada")
    add(profile, 4)
    assert profile.num_clips == stored_profile(tmp_path, "ada").count == 1


def test_leftovers_of_a_crash_are_deleted(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 1)
    file.path.with_suffix(".part").write_bytes(file.path.read_bytes())
    file.path.unlink()
    assert delete_profile(tmp_path, "ada")
    assert list(tmp_path.iterdir()) == []


def test_deletion_removes_every_file(tmp_path: Path) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 2)
    store(ProfileFile(tmp_path, "ada", OTHER_ENCODER), 5)
    assert stored_profile(tmp_path, "ada").count == 5
    assert len(list(tmp_path.iterdir())) == 3, "a profile, one kept aside, and the lock"
    assert delete_profile(tmp_path, "ada")
    assert not delete_profile(tmp_path, "ada")
    assert stored_profile(tmp_path, "ada").count == 0
    assert list(tmp_path.iterdir()) == []


def test_reset_leaves_an_empty_file(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    assert not reset_profile(tmp_path, "ada")
    profile = user_profile(tmp_path)
    add(profile, 0)
    profile.reset()
    assert file.open() is EMPTY_PROFILE
    assert file.path.exists()
    assert profile.num_clips == 0
    add(profile, 0)
    assert stored_profile(tmp_path, "ada").count == 1
    profile.forget()
    assert list(tmp_path.iterdir()) == []


def test_frozen_profile_ignores_other_processes(tmp_path: Path) -> None:
    profile = user_profile(tmp_path)
    for take in range(3):
        add(profile, take)
    profile.freeze()
    frozen = profile.contents_for(ENCODER)
    store(ProfileFile(tmp_path, "ada", ENCODER), 2, first=3)
    assert profile.contents_for(ENCODER) is frozen
    add(profile, 9)
    assert stored_profile(tmp_path, "ada").count == 5
    assert reset_profile(tmp_path, "ada")
    assert profile.contents_for(ENCODER) is EMPTY_PROFILE, "forgetting wins"


def test_commands_show_reset_and_delete_the_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(ProfileFile(tmp_path / "habits", "ada", OTHER_ENCODER), 1)
    store(ProfileFile(tmp_path / "habits", "ada", ENCODER), 2)
    options = ["--user", "ada", "--home", str(tmp_path)]
    assert main(["profile", "show", *options]) == 0
    text = capsys.readouterr().out
    assert "2 clips enrolled, 4.0 s of speech" in text
    assert "usual pitch and pace are not known yet" in text
    assert "1 more clip and 1.0 more seconds of speech are needed before a state may be" in text
    assert "it is taken up again with its drafter; `ugsd profile delete` deletes it too" in text
    assert main(["profile", "show", "--json", *options]) == 0
    (aside,) = json.loads(capsys.readouterr().out)["set_aside"]
    assert ".encoder-" in aside
    assert main(["profile", "reset", *options]) == 0
    assert "speaker profile reset" in capsys.readouterr().out
    assert main(["profile", "show", "--json", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["num_enrolled"], shown["num_missing"], shown["missing_s"]) == (0, 3, 5.0)
    assert shown["is_enrolled"] is False
    assert shown["set_aside"] == []
    assert main(["profile", "delete", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"user": "ada", "deleted": True}
    assert list((tmp_path / "habits").iterdir()) == []
    assert main(["profile", "delete", *options]) == 0
    assert "no speaker profile" in capsys.readouterr().out


def test_command_shows_the_usual_pitch_and_pace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    options = ["--user", "ada", "--home", str(tmp_path)]
    for take, pace in enumerate((4.0, 5.0, None)):
        file.add(replace(clip(take), prosody=prosody_of(pitch_st=12.0, pace=pace)), ENROLMENT)
    assert main(["profile", "show", *options]) == 0
    expected = "usual pitch 200 Hz (3 clips), pace 4.5 syllables a second (2 clips)"
    assert expected in capsys.readouterr().out
    assert main(["profile", "show", "--json", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["usual_pitch_hz"], shown["num_pitch_clips"]) == (200.0, 3)
    assert (shown["usual_pace"], shown["num_pace_clips"]) == (4.5, 2)


def test_command_says_that_unnamed_users_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "show", "--home", str(tmp_path)]) == 0
    assert "give a name with --user" in capsys.readouterr().out


@pytest.mark.parametrize("disclosure", list(Disclosure))
def test_no_policy_sends_unenrolled_states(disclosure: Disclosure) -> None:
    block = BlockView(0, (1, 2), (0.9, 0.9), verifier_has_summary=False)
    policy = EnrolmentGuard(AlwaysEscalate(disclosure))
    decision = policy(block, BudgetView())
    if disclosure is Disclosure.TOKENS:
        assert decision == Escalate(disclosure)
    else:
        assert decision == KeepLocal()
        assert decision.reason is ReasonCode.NOT_ENROLLED


def test_undeletable_profile_names_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 3)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ProfileError, match="Read-only file system: use another folder, or remount"):
        delete_profile(tmp_path, "ada")
