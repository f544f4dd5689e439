"""Clips from pipes and open files, and files of any name."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ugsd_sdk.audio import clip_sources
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioTooLong, BadSamples, EmptyAudio, UnreadableAudio

from tests.sdk.audio.clips import assert_is_tone, encoded, tone

CLIPS = {
    "WAV": encoded(tone(16_000), 16_000, "WAV"),
    "FLAC": encoded(tone(16_000), 16_000, "FLAC"),
}


class Socket:
    """A stream that gives little at a time, and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 1_000))


@pytest.mark.parametrize("kind", CLIPS)
def test_open_files_and_streams_are_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(CLIPS[kind])
    with (tmp_path / "clip").open("rb") as file, (tmp_path / "clip").open("rb", 0) as raw:
        for clip in (file, raw, io.BytesIO(CLIPS[kind]), Socket(CLIPS[kind])):
            assert_is_tone(read_clip(clip))


@pytest.mark.parametrize("kind", CLIPS)
def test_a_large_stream_moves_to_the_disk(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_sources, "_MEMORY_BYTES", 1_500)
    assert_is_tone(read_clip(Socket(CLIPS[kind])))
    assert_is_tone(read_clip(CLIPS[kind]))


@pytest.mark.parametrize("kind", CLIPS)
def test_systems_without_memory_files_read_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert_is_tone(read_clip(CLIPS[kind]))


def test_an_endless_stream_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(size)

    monkeypatch.setattr(clip_sources, "MAX_STREAM_BYTES", 10_000_000)
    with pytest.raises(AudioTooLong, match="save the sound to a file"):
        read_clip(Endless())


class Answering:
    """A file object that returns or raises something."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def read(self, size: int) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("text", "returns str, not bytes: open it with 'rb'"),
        (None, "has no data yet: give a blocking one"),
        (OSError(5, "broken"), r"could not be read \(OSError\)"),
        (ValueError("closed"), r"could not be read \(ValueError\)"),
    ],
)
def test_unusable_file_objects_say_why(answer: Any, message: str) -> None:
    with pytest.raises(UnreadableAudio, match=message):
        read_clip(Answering(answer))


def test_ctrl_c_in_a_file_object_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        read_clip(Answering(KeyboardInterrupt()))


def test_a_file_object_at_its_end_is_named() -> None:
    file = io.BytesIO(CLIPS["WAV"])
    file.seek(0, os.SEEK_END)
    with pytest.raises(EmptyAudio, match=r"at its end and needs seek\(0\)"):
        read_clip(file)


def test_a_rate_with_a_file_is_refused() -> None:
    for clip in (b"RIFF", io.BytesIO(CLIPS["WAV"]), memoryview(b"abc")):
        with pytest.raises(BadSamples, match=r"a file names its own.*np.frombuffer"):
            read_clip(clip, 16_000)


@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("waits", [False, True], ids=["prompt", "slow"])
def test_named_pipes_are_read(kind: str, waits: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        with (tmp_path / "pipe").open("wb", 0) as pipe:
            for half in (CLIPS[kind][:1_000], CLIPS[kind][1_000:]):
                time.sleep(0.2 * waits)
                pipe.write(half)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert_is_tone(read_clip(tmp_path / "pipe"))
    finally:
        writer.join()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="has no /dev/fd")
def test_a_shell_substitution_is_read() -> None:
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(writing, CLIPS["FLAC"]), os.close(writing)))
    writer.start()
    try:
        assert_is_tone(read_clip(f"/dev/fd/{reading}"))
    finally:
        writer.join()
        os.close(reading)


def test_a_pipe_without_writer_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    started = time.monotonic()
    with pytest.raises(UnreadableAudio, match=r"is a pipe, and nothing came.*start its writer"):
        read_clip(tmp_path / "pipe.wav")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("make", ["folder", "socket", "link to a device", "device"])
def test_what_is_no_file_is_not_opened(make: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    if make == "folder":
        path.mkdir()
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    elif make == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path = Path("/dev/tty")
    said = "is a folder: give the files" if make == "folder" else "is a device or a socket: save"
    with pytest.raises(UnreadableAudio, match=said):
        read_clip(path)


@pytest.mark.parametrize("name", ["voice.raw", "voice.mp3", "voice", "voice.wav.txt", ".sd2"])
def test_content_counts_and_not_the_name(name: str, tmp_path: Path) -> None:
    for data in CLIPS.values():
        (tmp_path / name).write_bytes(data)
        assert_is_tone(read_clip(tmp_path / name))


def test_paths_may_be_text_or_path_objects(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(CLIPS["WAV"])
    np.testing.assert_array_equal(read_clip(path), read_clip(str(path)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_text_is_opened(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    Path(path).write_bytes(CLIPS["WAV"])
    assert_is_tone(read_clip(path))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="has no /proc")
def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    (tmp_path / "clip").write_bytes(CLIPS["FLAC"])
    before = count()
    for clip in (tmp_path / "clip", CLIPS["FLAC"], Socket(CLIPS["FLAC"]), CLIPS["FLAC"][:500]):
        try:
            read_clip(clip)
        except UnreadableAudio:
            assert clip == CLIPS["FLAC"][:500]
    assert count() == before
