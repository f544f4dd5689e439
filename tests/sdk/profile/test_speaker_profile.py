"""Habits: what the device knows of a voice, how it is kept, and what waits for it."""

from __future__ import annotations

import stat
import threading
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

EARS, OTHER_EARS = b"\x01" * 32, b"\x02" * 32
_CLIPS = st.lists(
    arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)), min_size=1, max_size=40
)


def keep(file: ProfileFile, count: int, embedding: np.ndarray) -> None:
    for _ in range(count):
        file.add(embedding.astype(np.float32))


@given(_CLIPS)
def test_a_habit_is_the_average_of_what_was_heard(clips: list[np.ndarray]) -> None:
    profile = EMPTY_PROFILE
    for clip in clips:
        profile = profile.updated(clip)
    assert profile.count == len(clips)
    np.testing.assert_allclose(profile.mean, np.mean(clips, axis=0), atol=1e-3)


def test_an_old_voice_fades() -> None:
    profile = EMPTY_PROFILE
    for level in [0.0] * 200 + [1.0] * 200:
        profile = profile.updated(np.full(3, level, dtype=np.float32))
    assert profile.mean.min() > 0.95


def test_trust_grows_with_every_clip_from_nothing() -> None:
    trust = [SpeakerProfile(count, np.zeros(1, dtype=np.float32)).weight for count in range(60)]
    assert trust[0] == 0
    assert trust == sorted(set(trust))
    assert trust[-1] < 1


def test_a_habit_outlives_the_process_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "habits", "ada", EARS)
    voice = ProfileTracker(file)
    for _ in range(3):
        voice.add_clip(np.ones(4, dtype=np.float32))
    again = ProfileFile(tmp_path / "habits", "ada", EARS).read()
    assert again.count == 3
    np.testing.assert_array_equal(again.mean, np.ones(4, dtype=np.float32))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert "ada" not in file.path.name


def test_users_and_ears_do_not_share_a_habit(tmp_path: Path) -> None:
    keep(ProfileFile(tmp_path, "ada", EARS), 5, np.ones(4))
    assert ProfileFile(tmp_path, "bob", EARS).read() is EMPTY_PROFILE
    assert ProfileFile(tmp_path, "ada", OTHER_EARS).read() is EMPTY_PROFILE


@pytest.mark.parametrize("cut", [0, 1, 10, 200])
def test_a_damaged_habit_is_begun_anew(tmp_path: Path, cut: int) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    keep(file, 5, np.ones(400))
    file.path.write_bytes(file.path.read_bytes()[:cut])
    assert file.read() is EMPTY_PROFILE


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1))
def test_flipped_bits_never_raise(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    file = ProfileFile(tmp_path_factory.mktemp("habits"), "ada", EARS)
    keep(file, 5, np.ones(40))
    data = bytearray(file.path.read_bytes())
    for at, flip in flips:
        data[at % len(data)] ^= flip
    file.path.write_bytes(data)
    assert np.isfinite(file.read().mean).all()


def test_what_is_no_number_is_begun_anew(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    keep(file, 5, np.full(4, np.nan))
    assert file.read() is EMPTY_PROFILE


def test_a_habit_that_cannot_be_kept_lasts_as_long_as_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "habits").write_text("a file where a folder should be")
    voice = ProfileTracker(ProfileFile(tmp_path / "habits", "ada", EARS))
    for _ in range(2):
        voice.add_clip(np.ones(4, dtype=np.float32))
    assert voice.profile.count == 2
    assert len(caplog.records) == 1
    with pytest.raises(ProfileError):
        ProfileFile(tmp_path / "habits", "ada", EARS).add(voice.profile.mean)


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
def test_a_sound_file_that_holds_nonsense_is_begun_anew(
    tmp_path: Path, fields: dict[str, np.ndarray]
) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    sound = {"count": np.int64(5), "mean": np.ones(4, dtype=np.float32), "ears": EARS.hex()}
    np.savez(file.path, **(sound | fields))
    assert file.read() is EMPTY_PROFILE
    assert file.add(np.ones(4, dtype=np.float32)).count == 1


def test_a_header_that_claims_more_than_memory_is_begun_anew(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    header = header.ljust(118) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(file.path, "w") as archive:
        for name in ("count.npy", "mean.npy", "ears.npy"):
            archive.writestr(name, npy)
    assert file.read() is EMPTY_PROFILE


def test_a_habit_of_another_length_is_begun_anew(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    keep(file, 5, np.ones(4))
    assert file.add(np.ones(7, dtype=np.float32)).count == 1


def test_two_processes_add_to_one_habit(tmp_path: Path) -> None:
    voices = [ProfileTracker(ProfileFile(tmp_path, "ada", EARS)) for _ in range(2)]
    for turn in range(6):
        voices[turn % 2].add_clip(np.ones(4, dtype=np.float32))
    assert num_enrolled_clips(tmp_path, "ada") == 6


def test_threads_lose_no_clip(tmp_path: Path) -> None:
    def hear() -> None:
        keep(ProfileFile(tmp_path, "ada", EARS), 20, np.ones(4))

    threads = [threading.Thread(target=hear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert num_enrolled_clips(tmp_path, "ada") == 80


def test_a_process_that_was_stopped_with_the_lock_holds_nobody_up(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    file = ProfileFile(tmp_path, "ada", EARS)
    keep(file, 1, np.ones(4))
    with file.path.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert file.add(np.ones(4, dtype=np.float32), timeout_s=0.1) is None
        with pytest.raises(ProfileError, match="another process"):
            delete_profile(tmp_path, "ada")
    assert file.add(np.ones(4, dtype=np.float32)).count == 2


def test_what_was_forgotten_is_not_brought_back_by_a_running_device(tmp_path: Path) -> None:
    voice = ProfileTracker(ProfileFile(tmp_path, "ada", EARS))
    for _ in range(4):
        voice.add_clip(np.ones(4, dtype=np.float32))
    assert delete_profile(tmp_path, "ada")
    voice.add_clip(np.ones(4, dtype=np.float32))
    assert voice.profile.count == num_enrolled_clips(tmp_path, "ada") == 1


def test_what_a_crash_left_is_forgotten_too(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", EARS)
    keep(file, 1, np.ones(4))
    file.path.with_suffix(".part").write_bytes(file.path.read_bytes())
    file.path.unlink()
    assert delete_profile(tmp_path, "ada")
    assert list(tmp_path.iterdir()) == []


def test_forgetting_leaves_nothing(tmp_path: Path) -> None:
    keep(ProfileFile(tmp_path, "ada", EARS), 5, np.ones(4))
    assert num_enrolled_clips(tmp_path, "ada") == 5
    assert delete_profile(tmp_path, "ada")
    assert not delete_profile(tmp_path, "ada")
    assert num_enrolled_clips(tmp_path, "ada") == 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_tells_and_forgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(ProfileFile(tmp_path / "habits", "ada", EARS), 2, np.ones(4))
    options = ["--user", "ada", "--home", str(tmp_path)]
    assert main(["profile", "show", *options]) == 0
    told = capsys.readouterr().out
    assert "2 clips heard" in told
    assert "1 more until a state may leave" in told
    assert main(["profile", "delete", *options]) == 0
    assert "forgotten" in capsys.readouterr().out
    assert main(["profile", "show", "--json", *options]) == 0
    assert '"heard": 0, "lacking": 3' in capsys.readouterr().out


@pytest.mark.parametrize("disclosure", list(Disclosure))
def test_towards_a_strange_voice_no_policy_sends_a_state(disclosure: Disclosure) -> None:
    block = BlockView(0, (1, 2), (0.9, 0.9), verifier_has_summary=False)
    policy = EnrolmentGuard(AlwaysEscalate(disclosure))
    decision = policy(block, BudgetView())
    if disclosure is Disclosure.TOKENS:
        assert decision == Escalate(disclosure)
    else:
        assert decision == KeepLocal()
    assert policy.has_blocked is (disclosure is not Disclosure.TOKENS)
