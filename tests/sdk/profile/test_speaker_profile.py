"""Speaker profiles: the average, its file, and its lock."""

from __future__ import annotations

import errno
import shutil
import stat
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ugsd_privacy.protocol.messages import Disclosure
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
from ugsd_sdk.profile.speaker_profile import (
    EMPTY_PROFILE,
    ProfileFile,
    ProfileTracker,
    SpeakerProfile,
    delete_profile,
    num_enrolled_clips,
)

from tests.doubles.lock_holder import Hold

ENCODER, OTHER_ENCODER = b"\x01" * 32, b"\x02" * 32
_CLIPS = st.lists(
    arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)), min_size=1, max_size=40
)


def store(file: ProfileFile, count: int, embedding: np.ndarray) -> None:
    for _ in range(count):
        file.add(embedding.astype(np.float32))


@given(_CLIPS)
def test_profile_is_the_average_of_clips(clips: list[np.ndarray]) -> None:
    profile = EMPTY_PROFILE
    for clip in clips:
        profile = profile.updated(clip)
    assert profile.count == len(clips)
    np.testing.assert_allclose(profile.mean, np.mean(clips, axis=0), atol=1e-3)


def test_old_clips_fade() -> None:
    profile = EMPTY_PROFILE
    for level in [0.0] * 200 + [1.0] * 200:
        profile = profile.updated(np.full(3, level, dtype=np.float32))
    assert profile.mean.min() > 0.95


def test_weight_grows_with_every_clip() -> None:
    weights = [SpeakerProfile(count, np.zeros(1, dtype=np.float32)).weight for count in range(60)]
    assert weights[0] == 0
    assert weights == sorted(set(weights))
    assert weights[-1] < 1


def test_profile_is_stored_for_its_owner_only(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    tracker = ProfileTracker(file)
    for _ in range(3):
        tracker.add_clip(np.ones(4, dtype=np.float32))
    again = ProfileFile(tmp_path / "habits", "ada", ENCODER).read()
    assert again.count == 3
    np.testing.assert_array_equal(again.mean, np.ones(4, dtype=np.float32))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert "ada" not in file.path.name


def test_users_and_encoders_do_not_share_profiles(tmp_path: Path) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 5, np.ones(4))
    assert ProfileFile(tmp_path, "bob", ENCODER).read() is EMPTY_PROFILE
    assert ProfileFile(tmp_path, "ada", OTHER_ENCODER).read() is EMPTY_PROFILE


@pytest.mark.parametrize("cut", [0, 1, 10, 200])
def test_damaged_profile_is_replaced(tmp_path: Path, cut: int) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5, np.ones(400))
    file.path.write_bytes(file.path.read_bytes()[:cut])
    assert file.read() is EMPTY_PROFILE


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1))
def test_flipped_bits_never_raise(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    file = ProfileFile(tmp_path_factory.mktemp("habits"), "ada", ENCODER)
    store(file, 5, np.ones(40))
    data = bytearray(file.path.read_bytes())
    for at, flip in flips:
        data[at % len(data)] ^= flip
    file.path.write_bytes(data)
    assert np.isfinite(file.read().mean).all()


def test_profile_with_nan_is_replaced(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5, np.full(4, np.nan))
    assert file.read() is EMPTY_PROFILE


def test_unstorable_profile_lasts_for_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "habits").write_text("a file where a folder should be")
    tracker = ProfileTracker(ProfileFile(tmp_path / "habits", "ada", ENCODER))
    for _ in range(2):
        tracker.add_clip(np.ones(4, dtype=np.float32))
    assert tracker.profile.count == 2
    assert len(caplog.records) == 1
    with pytest.raises(ProfileError):
        ProfileFile(tmp_path / "habits", "ada", ENCODER).add(tracker.profile.mean)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": np.float64(np.inf)},
        {"count": np.int64(0)},
        {"count": np.int64(2**62)},
        {"count": np.arange(3)},
        {"mean": np.ones((2, 2), dtype=np.float32)},
        {"mean": np.ones(4)},
        {"mean": np.array(["x"])},
        {"ears": np.int64(3)},
    ],
)
def test_profile_with_invalid_fields_is_replaced(
    tmp_path: Path, fields: dict[str, np.ndarray]
) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    valid = {"count": np.int64(5), "mean": np.ones(4, dtype=np.float32), "ears": ENCODER.hex()}
    np.savez(file.path, **(valid | fields))
    assert file.read() is EMPTY_PROFILE
    assert file.add(np.ones(4, dtype=np.float32)).count == 1


def test_profile_with_huge_header_is_replaced(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    header = header.ljust(118) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(file.path, "w") as archive:
        for name in ("count.npy", "mean.npy", "ears.npy"):
            archive.writestr(name, npy)
    assert file.read() is EMPTY_PROFILE


def test_profile_of_another_length_is_replaced(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 5, np.ones(4))
    assert file.add(np.ones(7, dtype=np.float32)).count == 1


def test_two_processes_share_one_profile(tmp_path: Path) -> None:
    trackers = [ProfileTracker(ProfileFile(tmp_path, "ada", ENCODER)) for _ in range(2)]
    for turn in range(6):
        trackers[turn % 2].add_clip(np.ones(4, dtype=np.float32))
    assert num_enrolled_clips(tmp_path, "ada") == 6


def test_threads_lose_no_clip(tmp_path: Path) -> None:
    def add_clips() -> None:
        store(ProfileFile(tmp_path, "ada", ENCODER), 20, np.ones(4))

    threads = [threading.Thread(target=add_clips) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert num_enrolled_clips(tmp_path, "ada") == 80


def test_stopped_lock_holder_costs_a_bounded_wait(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr("ugsd_sdk.profile.speaker_profile._LOCK_TIMEOUT_S", 0.2)
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 1, np.ones(4))
    end = hold("file", file.path.with_suffix(".lock"))
    started_s = time.monotonic()
    assert file.add(np.ones(4, dtype=np.float32), timeout_s=0.1) is None
    with pytest.raises(ProfileError, match="another process"):
        delete_profile(tmp_path, "ada")
    assert time.monotonic() - started_s < 1.3
    end()
    assert file.add(np.ones(4, dtype=np.float32)).count == 2


def test_folder_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    monkeypatch.setattr("ugsd_sdk.profile.speaker_profile.require_not_writable", checked.append)
    file = ProfileFile(tmp_path / "habits", "ada", ENCODER)
    store(file, 3, np.ones(4))
    assert checked == [tmp_path / "habits"]
    shutil.rmtree(tmp_path / "habits")
    store(file, 1, np.ones(4))
    assert len(checked) == 2, "a new folder is checked, too"


def test_running_captioner_does_not_restore_deleted_profile(tmp_path: Path) -> None:
    tracker = ProfileTracker(ProfileFile(tmp_path, "ada", ENCODER))
    for _ in range(4):
        tracker.add_clip(np.ones(4, dtype=np.float32))
    assert delete_profile(tmp_path, "ada")
    tracker.add_clip(np.ones(4, dtype=np.float32))
    assert tracker.profile.count == num_enrolled_clips(tmp_path, "ada") == 1


def test_leftovers_of_a_crash_are_deleted(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", ENCODER)
    store(file, 1, np.ones(4))
    file.path.with_suffix(".part").write_bytes(file.path.read_bytes())
    file.path.unlink()
    assert delete_profile(tmp_path, "ada")
    assert list(tmp_path.iterdir()) == []


def test_deletion_removes_every_file(tmp_path: Path) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 5, np.ones(4))
    assert num_enrolled_clips(tmp_path, "ada") == 5
    assert delete_profile(tmp_path, "ada")
    assert not delete_profile(tmp_path, "ada")
    assert num_enrolled_clips(tmp_path, "ada") == 0
    assert list(tmp_path.iterdir()) == []


def test_command_shows_and_deletes_the_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(ProfileFile(tmp_path / "habits", "ada", ENCODER), 2, np.ones(4))
    options = ["--user", "ada", "--home", str(tmp_path)]
    assert main(["profile", "show", *options]) == 0
    text = capsys.readouterr().out
    assert "2 clips enrolled" in text
    assert "1 more clip is needed before a state may be sent" in text
    assert main(["profile", "delete", *options]) == 0
    assert "speaker profile deleted" in capsys.readouterr().out
    assert main(["profile", "show", "--json", *options]) == 0
    assert '"num_enrolled": 0, "num_missing": 3' in capsys.readouterr().out


@pytest.mark.parametrize("disclosure", list(Disclosure))
def test_no_policy_sends_unenrolled_states(disclosure: Disclosure) -> None:
    block = BlockView(0, (1, 2), (0.9, 0.9), verifier_has_summary=False)
    policy = EnrolmentGuard(AlwaysEscalate(disclosure))
    decision = policy(block, BudgetView())
    if disclosure is Disclosure.TOKENS:
        assert decision == Escalate(disclosure)
    else:
        assert decision == KeepLocal()
    assert policy.has_blocked is (disclosure is not Disclosure.TOKENS)


def test_undeletable_profile_names_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(ProfileFile(tmp_path, "ada", ENCODER), 3, np.ones(4))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ProfileError, match="Read-only file system: use another folder, or remount"):
        delete_profile(tmp_path, "ada")
