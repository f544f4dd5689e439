"""Files whose header does not state how long they are, or states it wrongly."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import AudioError, EmptyAudio, UnreadableAudio

from tests.sdk.audio.clips import assert_is_tone, by_ffmpeg, encoded, tone

RATE = 16_000
SECONDS = 3.0
DELAY_SAMPLES = 2_400
"""An MP3 without a heading does not say how much silence its encoder put in front: 0.15 s here."""


def with_picture(mp3: bytes) -> bytes:
    """``mp3`` behind a tag with a cover picture of 340 kB."""
    picture = b"APIC" + struct.pack(">IH", 340_000, 0) + bytes(range(256)) * 1328 + bytes(32)
    size = bytes(len(picture) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + size + picture


def mp3(rate: int, *, qscale: bool, seconds: float = SECONDS) -> bytes:
    """An MP3 that was written to a pipe, of variable bit rate if ``qscale``."""
    sound = np.concatenate((np.zeros(rate // 2), tone(rate, seconds - 0.5)))
    return by_ffmpeg(sound, rate, "mp3", "libmp3lame", is_pipe=True, qscale=qscale)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("qscale", [False, True], ids=["CBR", "VBR"])
def test_mp3_from_a_pipe_is_whole(rate: int, qscale: bool) -> None:
    samples = read_clip(mp3(rate, qscale=qscale))
    assert 0 <= len(samples) - 16_000 * SECONDS < DELAY_SAMPLES
    assert np.abs(samples[-8_000:]).max() > 0.3, "the end is silent"


def test_mp3_with_a_large_picture_is_whole() -> None:
    whole = mp3(16_000, qscale=True)
    sound = whole[whole.index(b"\xff\xf3") :]
    np.testing.assert_array_equal(read_clip(with_picture(sound) + sound), read_clip(whole))


def test_joined_mp3_files_are_heard_to_the_end() -> None:
    one = encoded(tone(44_100, 2), 44_100, "MP3")
    assert b"Info" in one[:200] or b"Xing" in one[:200]
    assert len(read_clip(one + one)) > 1.95 * len(read_clip(one))


def test_mp3_shorter_than_its_heading_is_refused() -> None:
    one = bytearray(encoded(tone(44_100, 2), 44_100, "MP3"))
    at = max(one.find(b"Info", 0, 100), one.find(b"Xing", 0, 100)) + 8
    one[at : at + 4] = struct.pack(">I", struct.unpack(">I", one[at : at + 4])[0] + 5)
    with pytest.raises(UnreadableAudio, match=r"damaged: \d+ of \d+ MP3 frames"):
        read_clip(bytes(one))


def test_mp3_with_a_damaged_frame_head_is_refused() -> None:
    whole = bytearray(mp3(44_100, qscale=True))
    at = whole.index(b"\xff\xfb", len(whole) // 2)
    whole[at + 1] = 0
    with pytest.raises(UnreadableAudio, match="damaged: no MP3 frame at byte"):
        read_clip(bytes(whole))


def test_mp3_that_ends_within_a_frame_is_refused() -> None:
    whole = mp3(44_100, qscale=True)
    for missing in (1, 100, len(whole) // 2):
        with pytest.raises(UnreadableAudio, match="ends within the MP3 frame"):
            read_clip(whole[:-missing])


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(5_000), b"junk" * 100])
def test_mp3_may_end_in_a_tag_or_padding(tail: bytes) -> None:
    whole = mp3(16_000, qscale=False)
    np.testing.assert_array_equal(read_clip(whole + tail), read_clip(whole))


def test_flac_from_a_pipe_is_whole() -> None:
    data = bytearray(by_ffmpeg(tone(16_000, SECONDS), 16_000, "flac", "flac", is_pipe=True))
    data[21] &= 0xF0  # FFmpeg's command line leaves the length out (RFC 9639 §8.2)
    data[22:26] = bytes(4)
    assert_is_tone(read_clip(bytes(data)), seconds=SECONDS)


def test_joined_flac_files_are_refused() -> None:
    one = encoded(tone(16_000), 16_000, "FLAC")
    with pytest.raises(UnreadableAudio, match="several FLAC recordings"):
        read_clip(one + one)


@pytest.mark.parametrize("container", ["wav", "aiff"])
def test_ffmpeg_pipes_of_pcm_are_whole(container: str) -> None:
    codec = "pcm_s16le" if container == "wav" else "pcm_s16be"
    data = by_ffmpeg(tone(16_000, SECONDS), 16_000, container, codec, is_pipe=True)
    assert_is_tone(read_clip(data), seconds=SECONDS)


@pytest.mark.parametrize("stated", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_wav_of_unknown_length_is_whole(stated: int) -> None:
    data = bytearray(encoded(tone(16_000), 16_000, "WAV", "PCM_16"))
    data[40:44] = data[4:8] = struct.pack("<I", stated)
    assert_is_tone(read_clip(bytes(data)))


def test_rf64_of_unknown_length_is_whole() -> None:
    data = bytearray(encoded(tone(16_000), 16_000, "RF64", "PCM_16"))
    at = data.index(b"ds64") + 16
    data[at : at + 8] = b"\xff" * 8
    assert_is_tone(read_clip(bytes(data)))


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "RF64"])
def test_a_file_that_was_cut_is_refused(kind: str) -> None:
    whole = encoded(tone(16_000), 16_000, kind, "PCM_16")
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(AudioError, match="damaged"):
            read_clip(whole[: int(len(whole) * share)])


def test_wav_with_more_sound_than_stated_is_refused() -> None:
    data = bytearray(encoded(tone(16_000), 16_000, "WAV", "PCM_16"))
    data[40:44] = struct.pack("<I", 8_000)
    with pytest.raises(UnreadableAudio, match="follow the samples"):
        read_clip(bytes(data))


def test_joined_wav_files_are_refused() -> None:
    one = encoded(tone(16_000), 16_000, "WAV", "PCM_16")
    with pytest.raises(UnreadableAudio, match="several recordings"):
        read_clip(one + one)


def test_wav_may_end_in_chunks_or_padding() -> None:
    whole = encoded(tone(16_000), 16_000, "WAV", "PCM_16")
    for tail in (b"LIST\4\0\0\0INFO", b"id3 \2\0\0\0ab", bytes(4_096), b"\0"):
        assert_is_tone(read_clip(whole + tail))


@pytest.mark.parametrize("padding", [b"", b"\0"], ids=["not padded", "padded"])
def test_odd_chunks_need_no_padding(padding: bytes) -> None:
    whole = encoded(tone(16_000), 16_000, "WAV", "PCM_16")
    assert_is_tone(read_clip(whole[:36] + b"note\3\0\0\0abc" + padding + whole[36:]))


def test_wav_without_samples_is_empty() -> None:
    whole = encoded(np.zeros(0, np.int16), 16_000, "WAV", "PCM_16")
    for data in (whole, whole + b"LIST\4\0\0\0INFO"):
        with pytest.raises(EmptyAudio, match="holds no samples"):
            read_clip(data)


def test_aiff_with_other_length_than_stated_is_refused() -> None:
    data = bytearray(encoded(tone(16_000), 16_000, "AIFF", "PCM_16"))
    at = data.index(b"COMM") + 10
    data[at : at + 4] = struct.pack(">I", 8_000)
    with pytest.raises(UnreadableAudio, match="states 8000 samples, and 16000 are there"):
        read_clip(bytes(data))


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_chained_ogg_is_heard_to_the_end(subtype: str) -> None:
    rates = (48_000, 16_000, 48_000)
    chain = [encoded(tone(rate, 1 + n), rate, "OGG", subtype) for n, rate in enumerate(rates)]
    samples = read_clip(b"".join(chain))
    parts = [read_clip(link) for link in chain]
    np.testing.assert_allclose(samples, np.concatenate(parts), atol=1e-6)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_ogg_recorded_from_a_broadcast_is_read(subtype: str) -> None:
    sound = tone(48_000, 20) + np.random.default_rng(0).normal(0, 0.05, 20 * 48_000)
    whole = encoded(sound, 48_000, "OGG", subtype)
    pages = [at for at in range(len(whole)) if whole.startswith(b"OggS\0", at)]
    headers, sounds = pages[2], pages[5]
    samples = read_clip(whole[:headers] + whole[sounds:])
    assert 0.5 < len(samples) / RATE < 20
    assert np.abs(samples[-8_000:]).max() > 0.3


def test_ogg_that_ends_within_a_page_is_refused() -> None:
    whole = encoded(tone(48_000, 2), 48_000, "OGG", "OPUS")
    with pytest.raises(UnreadableAudio, match="ends within the Ogg page"):
        read_clip(whole[:-10])
