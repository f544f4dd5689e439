"""Formats that the extra ``media`` reads, and what is said without it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioError, EmptyAudio, UnreadableAudio

from tests.sdk.audio.clips import by_ffmpeg, tone

SECONDS = 3.0
KINDS = {
    "M4A with AAC": ("ipod", "aac", 44_100),
    "M4A with ALAC": ("ipod", "alac", 16_000),
    "MOV with PCM": ("mov", "pcm_s16le", 16_000),
    "AAC in ADTS": ("adts", "aac", 16_000),
    "WebM with Opus": ("webm", "libopus", 48_000),
    "Matroska with FLAC": ("matroska", "flac", 16_000),
    "Ogg with FLAC": ("ogg", "flac", 16_000),
}


def clip(kind: str, seconds: float = SECONDS) -> bytes:
    container, codec, rate = KINDS[kind]
    return by_ffmpeg(tone(rate, seconds), rate, container, codec)


@pytest.fixture(scope="module")
def m4a() -> bytes:
    return clip("M4A with AAC")


@pytest.mark.parametrize("kind", KINDS)
def test_media_files_are_read_whole(kind: str, tmp_path: Path) -> None:
    data = clip(kind)
    samples = read_clip(data)
    assert 0 <= len(samples) - 16_000 * SECONDS < 1_600
    expected = tone(16_000, SECONDS)
    lag = int(np.argmax(np.correlate(samples[:4_000], expected[:2_000], "valid")))
    heard = samples[lag : lag + 40_000]
    assert np.corrcoef(heard, expected[: len(heard)])[0, 1] > 0.98
    (tmp_path / "clip.bin").write_bytes(data)
    np.testing.assert_array_equal(read_clip(tmp_path / "clip.bin"), samples)


def test_browser_recordings_are_read_whole() -> None:
    for container, codec in (("webm", "libopus"), ("mp4", "aac")):
        options = {"movflags": "frag_keyframe+empty_moov"} if container == "mp4" else {}
        data = by_ffmpeg(
            tone(48_000, SECONDS), 48_000, container, codec, options=options, is_pipe=True
        )
        assert 0 <= len(read_clip(data)) - 16_000 * SECONDS < 1_600


def test_a_video_without_sound_is_refused() -> None:
    with av.open(file := io.BytesIO(), "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(32, 32, "yuv420p")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(EmptyAudio, match="no sound track"):
        read_clip(file.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_extra_the_format_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip(kind)
    monkeypatch.delitem(sys.modules, "ugsd_sdk.audio.media_decoder", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    name = kind.split(" ", maxsplit=1)[0].replace("M4A", "MP4").replace("MOV", "MP4")
    with pytest.raises(
        UnreadableAudio, match=rf"{name}.*pip install ugsd\[media\].*ffmpeg -i clip.m4a clip.wav"
    ):
        read_clip(data)


def with_index_first(m4a: bytes, folder: Path) -> bytes:
    """``m4a`` as phones and web pages have it: its index stands before its sound."""
    path = folder / "index-first.m4a"
    options = {"movflags": "faststart"}
    with (
        av.open(io.BytesIO(m4a)) as given,
        av.open(str(path), "w", format="ipod", options=options) as output,
    ):
        stream = output.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return path.read_bytes()


def test_m4a_that_was_cut_is_refused(tmp_path: Path, m4a: bytes) -> None:
    whole = with_index_first(m4a, tmp_path)
    assert whole.index(b"moov") < whole.index(b"mdat")
    assert len(read_clip(whole)) >= 16_000 * SECONDS
    for data in (m4a, whole):
        with pytest.raises(UnreadableAudio, match="damaged"):
            read_clip(data[: len(data) * 2 // 3])


def test_adts_that_ends_within_a_frame_is_refused() -> None:
    whole = clip("AAC in ADTS")
    for data in (whole[:-5], whole[: whole.rindex(whole[:3]) + 3]):
        with pytest.raises(UnreadableAudio, match="ends within the AAC frame"):
            read_clip(data)


def test_adts_with_damage_between_frames_is_refused() -> None:
    data = clip("AAC in ADTS")
    middle = data.index(data[:3], len(data) // 2)
    with pytest.raises(UnreadableAudio, match="damaged: no AAC frame at byte"):
        read_clip(data[:middle] + b"junk" * 10 + data[middle:])


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_media_prints_nothing(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    whole = clip(kind, 1.0)
    for n in range(12):
        data = bytearray(whole)
        for at in rng.integers(12, len(data) if n % 2 else 300, 4):
            data[at] = rng.integers(256)
        (tmp_path / f"clip{n}").write_bytes(data)
    code = (
        "import sys, pathlib\n"
        "from ugsd_sdk.audio.samples import read_clip\n"
        "from ugsd_sdk.errors import AudioError\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('clip*')):\n"
        "    try: read_clip(path)\n"
        "    except AudioError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_addresses_in_files_are_not_followed() -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    for data in (playlist, b"ffconcat version 1.0\nfile /etc/hostname\n"):
        with pytest.raises(AudioError, match="not audio of a format that is read here"):
            read_clip(data)


@pytest.mark.parametrize("kind", ["M4A with AAC", "WebM with Opus", "Matroska with FLAC"])
@pytest.mark.parametrize("change", ["cut", "hole", "twice", "joined"])
def test_media_with_a_part_too_few_is_refused(kind: str, change: str) -> None:
    whole = clip(kind)
    middle, later = len(whole) // 2, len(whole) * 2 // 3
    data = {
        "cut": whole[:-50],
        "hole": whole[:middle] + whole[later:],
        "twice": whole[:later] + whole[middle:],
        "joined": whole + whole[len(whole) // 3 :],
    }[change]
    with pytest.raises(UnreadableAudio, match="damaged"):
        read_clip(data)
    np.testing.assert_array_equal(read_clip(whole + bytes(100)), read_clip(whole))
