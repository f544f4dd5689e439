"""Clips that would cost more than 30 s of sound, and files of no documented format."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import ugsd_sdk.audio.samples
from ugsd_sdk.audio.clip_formats import FORMATS
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioError, AudioTooLong, UnreadableAudio

ROOT = Path(__file__).parents[3]
MIB = 2**20
DOCUMENTED = ("WAV", "AIFF", "FLAC", "MP3", "Ogg Vorbis", "Ogg Opus")
PATIENCE_S = 5.0
"""The cases took minutes, or for ever; on a busy machine none takes so long any more."""


@contextmanager
def soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < PATIENCE_S


def encoded(kind: str, subtype: str | None = None, rate: int = 48_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (rate, channels))
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


WAV, AIFF, FLAC, MP3 = (encoded(kind) for kind in ("WAV", "AIFF", "FLAC", "MP3"))
OPUS, VORBIS = encoded("OGG", "OPUS"), encoded("OGG", "VORBIS")
ALL = {"wav": WAV, "aiff": AIFF, "flac": FLAC, "mp3": MP3, "opus": OPUS, "ogg": VORBIS}


@pytest.mark.parametrize("ending", ALL)
def test_a_file_of_gigabytes_is_not_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(ALL[ending])
    os.truncate(path, 17 << 30)  # sparse
    with soon(), pytest.raises(AudioTooLong, match=r"18254 MB.*at most \d+ MB.*ffmpeg"):
        read_clip(path)


@pytest.mark.parametrize("ending", ALL)
def test_gigabytes_after_the_sound_are_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(ALL[ending])
    os.truncate(path, 1 << 30)
    with soon(), pytest.raises(UnreadableAudio, match="damaged"):
        read_clip(path)


def test_views_of_any_item_size_are_heard() -> None:
    view = memoryview(np.frombuffer(WAV[: len(WAV) // 4 * 4], np.float32))
    np.testing.assert_array_equal(read_clip(view), read_clip(WAV[: len(WAV) // 4 * 4]))


def test_a_released_view_is_a_typed_error() -> None:
    view = memoryview(WAV)
    view.release()
    with pytest.raises(UnreadableAudio, match="was released"):
        read_clip(view)


ID3_TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)


@pytest.mark.parametrize("clip", [WAV, FLAC, AIFF, MP3], ids=["WAV", "FLAC", "AIFF", "MP3"])
def test_an_id3_tag_in_front_changes_nothing(clip: bytes) -> None:
    np.testing.assert_array_equal(read_clip(ID3_TAG + clip), read_clip(clip))


ODD_FRAMES = b"TXXX\0\0\0\2\0\0\0a" * MIB
ODD_TAG = b"ID3\4\0\0" + bytes(len(ODD_FRAMES) >> n & 0x7F for n in (21, 14, 7, 0)) + ODD_FRAMES
READER = """
import sys
from pathlib import Path
from ugsd_sdk.audio.samples import read_clip
print(len(read_clip(Path(sys.argv[1]))))
"""


def second_frame(clip: bytes) -> int:
    """Where the second frame of an MP3 clip starts."""
    return clip.index(clip[:2], 2)


@pytest.mark.parametrize("at", [0, second_frame(MP3), len(MP3)], ids=["front", "middle", "end"])
def test_odd_id3_frames_print_nothing(tmp_path: Path, at: int) -> None:
    path = tmp_path / "clip.mp3"
    path.write_bytes(MP3[:at] + ODD_TAG + MP3[at:])
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        try:
            assert reader.wait(60) == 0, "it waits for somebody to read its standard error"
        finally:
            reader.kill()
        assert reader.stdout is not None
        assert int(reader.stdout.read()) == len(read_clip(MP3))


def test_a_thousand_tags_are_too_many() -> None:
    tag = b"ID3\4\0\0\0\0\0\2ab"
    np.testing.assert_array_equal(read_clip(MP3 + 60 * tag), read_clip(MP3))
    with soon(), pytest.raises(UnreadableAudio, match="more than 64 tags"):
        read_clip(MP3 + 1_000 * tag + MP3)


@pytest.mark.parametrize("clip", [OPUS, VORBIS], ids=["opus", "vorbis"])
@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"junk", bytes(100)])
def test_what_follows_the_last_ogg_page_is_ignored(clip: bytes, tail: bytes) -> None:
    np.testing.assert_array_equal(read_clip(clip + tail), read_clip(clip))


@pytest.mark.parametrize("whole", [OPUS, VORBIS], ids=["opus", "vorbis"])
@pytest.mark.parametrize(
    "filling",
    [b"OggS" * (7 * MIB // 2), bytes(14 * MIB), OPUS[:64] * (MIB // 8)],
    ids=["markers", "zeros", "torn pages"],
)
def test_garbage_between_ogg_pages_is_not_searched(whole: bytes, filling: bytes) -> None:
    with soon(), pytest.raises(UnreadableAudio, match="no whole Ogg page at byte"):
        read_clip(whole + filling + whole)


def test_a_flipped_bit_damages_an_ogg_page() -> None:
    for at in range(40, len(OPUS), 997):
        with pytest.raises(UnreadableAudio):
            read_clip(OPUS[:at] + bytes([OPUS[at] ^ 1]) + OPUS[at + 1 :])


def test_a_million_ogg_pages_are_too_many() -> None:
    page = OPUS[: 27 + OPUS[26] + sum(OPUS[27 : 27 + OPUS[26]])]
    with soon(), pytest.raises(UnreadableAudio):
        read_clip(page * 500_000)


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF" + struct.pack("<I", 64 * MIB) + b"WAVE" + b"JUNK\0\0\0\0" * (8 * MIB),
        b"FORM" + struct.pack(">I", 64 * MIB) + b"AIFF" + b"ANNO\0\0\0\0" * (8 * MIB),
        FLAC[:42] + b"\x01\0\0\0" * (16 * MIB) + FLAC[42:],
        FLAC[:42] + b"\x01\xff\xff\xff" + bytes(MIB),
        b"ID3\4\0\0\0\0\0\0" * MIB + MP3,
        b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(MIB) + MP3,
    ],
    ids=["wav chunks", "aiff chunks", "flac blocks", "flac block", "id3 tags", "id3 tag"],
)
def test_headers_without_end_are_refused_soon(data: bytes) -> None:
    with soon(), pytest.raises(UnreadableAudio):
        read_clip(data)


@pytest.mark.parametrize(
    "data",
    [
        FLAC[:42] + b"\xff\xf8\xc9\x08\0" * (6 * MIB),
        FLAC[:21] + b"\xf0" + bytes(4) + FLAC[26:42] + b"\xff\xf8" * (16 * MIB),
        MP3[: second_frame(MP3)] + b"\xff\xfb" * (16 * MIB),
        b"\xff\xf1\x50\x40\x01\0\0" * (4 * MIB),
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov" * (4 * MIB),
        b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * (16 * MIB),
    ],
    ids=["flac", "flac of any length", "mp3", "adts", "mp4", "webm"],
)
def test_millions_of_false_frames_end_soon(data: bytes) -> None:
    with soon(), pytest.raises(AudioError):
        read_clip(data)


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [
        ("WAV", "DOUBLE", 384_000),
        ("RF64", "PCM_24", 96_000),
        ("WAVEX", "FLOAT", 48_000),
        ("WAV", "ALAW", 8_000),
        ("AIFF", "ULAW", 8_000),
        ("FLAC", "PCM_24", 192_000),
        ("OGG", "OPUS", 48_000),
        ("OGG", "VORBIS", 96_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
def test_demanding_but_honest_clips_are_heard(
    kind: str, subtype: str, rate: int, channels: int
) -> None:
    if kind == "MP3" and channels > 2:
        pytest.skip("MP3 has at most two")
    assert 15_000 < len(read_clip(encoded(kind, subtype, rate, channels))) < 19_000


def test_tags_and_pictures_do_not_count_as_sound() -> None:
    tag = b"ID3\4\0\0" + bytes([2, 0, 0, 0]) + bytes(2 << 21)  # 4 MiB, in 7 bits a byte
    assert 15_000 < len(read_clip(tag + MP3)) < 19_000
    padding = b"\x01" + (3 * MIB).to_bytes(3, "big") + bytes(3 * MIB)
    assert len(read_clip(FLAC[:42] + padding + FLAC[42:])) == 16_000


UNDOCUMENTED = [
    (kind, subtype)
    for kind in soundfile.available_formats()
    if kind
    not in {"MPEG", "RAW", "SD2"}  # the first two are no containers; writing SD2 leaves "._"
    for subtype in [soundfile.default_subtype(kind)]
    if kind not in {"WAV", "WAVEX", "RF64", "AIFF", "FLAC", "MP3", "OGG"}
] + [
    ("WAV", "IMA_ADPCM"),
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "MPEG_LAYER_III"),
    ("AIFF", "DWVW_16"),
    ("MP3", "MPEG_LAYER_II"),
]


@pytest.mark.parametrize(("kind", "subtype"), UNDOCUMENTED)
def test_undocumented_formats_are_not_decoded(
    kind: str, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        data = encoded(kind, subtype, 8_000)
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip("libsndfile cannot write it here")
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(UnreadableAudio, match=f"give {FORMATS}"):
        read_clip(data)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"#!AMR\n", "AMR"),
        (b"\xff\xfd\x50\0", "MPEG audio of layer I or II"),
        (b"RIFF\0\0\0\0AVI ", "AVI"),
        (b"\xf0\x7e\0\x01", "SDS"),
        (b"ID3\3\0\0\0\0\0\0\xf0\x7e", "SDS"),
    ],
)
def test_a_refused_format_is_named(head: bytes, name: str) -> None:
    with pytest.raises(UnreadableAudio, match=f"{re.escape(name)}.* is not read"):
        read_clip(head + bytes(1000))


def test_formats_are_one_list_everywhere() -> None:
    assert re.split(", | or ", FORMATS) == list(DOCUMENTED)
    said = ugsd_sdk.audio.samples.__doc__ or ""
    for word in ("WAV", "AIFF", "FLAC", "MP3", "Ogg Vorbis", "Ogg Opus"):
        assert word in " ".join(said.split())


_SDS = b"\xf0\x7e\0\x01\0\0\x10\x7f\x7f\x7f\x7f\x7f\x7f" + bytes(range(128)) * 40


def test_a_damaged_dump_prints_nothing_of_libsndfile(tmp_path: Path) -> None:
    (tmp_path / "clip.sds").write_bytes(_SDS)
    code = "import sys; from ugsd_sdk.audio.samples import read_clip; read_clip(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "clip.sds"], capture_output=True, check=False
    )
    assert done.stdout == b""
    assert b"UnreadableAudio: SDS" in done.stderr


@pytest.mark.parametrize("ending", ALL)
def test_damage_anywhere_ends_soon(ending: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(ALL[ending])
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(256)
        with soon():
            try:
                read_clip(bytes(data))
            except AudioError:
                continue
