"""Clips in every usual form, and every unusable one as a typed error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.errors import (
    AudioError,
    AudioTooShort,
    BadSamples,
    EmptyAudio,
    UnreadableAudio,
)

from tests.sdk.audio.clips import assert_is_tone, encoded, tone


@pytest.mark.parametrize(
    ("rate", "kind", "subtype"),
    [
        (16_000, "WAV", "PCM_16"),
        (8_000, "WAV", "ULAW"),
        (96_000, "WAV", "PCM_24"),
        (44_100, "WAV", "FLOAT"),
        (48_000, "WAV", "DOUBLE"),
        (11_025, "WAV", "PCM_U8"),
        (22_050, "FLAC", "PCM_16"),
        (44_100, "AIFF", "PCM_16"),
    ],
)
def test_every_format_and_rate_is_heard_alike(rate: int, kind: str, subtype: str) -> None:
    assert_is_tone(read_clip(encoded(tone(rate), rate, kind, subtype)))


@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
)
def test_lossy_formats_are_heard(kind: str, subtype: str) -> None:
    samples = read_clip(encoded(tone(48_000), 48_000, kind, subtype))
    assert samples.dtype == np.float32
    assert 15_000 < len(samples) < 18_500
    assert 0.3 < np.abs(samples).max() <= 1


def nan_at(samples: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    samples[100] = value
    return samples


@pytest.mark.parametrize(
    ("clip", "rate", "error"),
    [
        pytest.param(b"", None, EmptyAudio, id="no bytes"),
        pytest.param(b"this is not audio" * 100, None, UnreadableAudio, id="not audio"),
        pytest.param("/no/such/file.wav", None, UnreadableAudio, id="no file"),
        pytest.param("/", None, UnreadableAudio, id="a folder"),
        pytest.param("a\0b.wav", None, UnreadableAudio, id="nul in path"),
        pytest.param("/dev/zero", None, UnreadableAudio, id="a device"),
        pytest.param(np.zeros(0), 16_000, EmptyAudio, id="no samples"),
        pytest.param(np.zeros((0, 2)), 16_000, EmptyAudio, id="no stereo samples"),
        pytest.param(tone(16_000, 0.01), 16_000, AudioTooShort, id="10 ms"),
        pytest.param(nan_at(tone(16_000), np.nan), 16_000, BadSamples, id="nan"),
        pytest.param(nan_at(tone(16_000), -np.inf), 16_000, BadSamples, id="infinity"),
        pytest.param(nan_at(tone(16_000), 1e300), 16_000, BadSamples, id="beyond float32"),
        pytest.param(tone(16_000), None, BadSamples, id="no rate"),
        pytest.param(tone(16_000), 0, BadSamples, id="rate 0"),
        pytest.param(tone(16_000), -16_000, BadSamples, id="negative rate"),
        pytest.param(tone(16_000), 16_000.5, BadSamples, id="broken rate"),
        pytest.param(tone(16_000), True, BadSamples, id="boolean rate"),
        pytest.param(tone(16_000) > 0, 16_000, BadSamples, id="booleans"),
        pytest.param(tone(16_000) + 1j, 16_000, BadSamples, id="complex"),
        pytest.param(np.array(["a"] * 16_000), 16_000, BadSamples, id="text"),
        pytest.param(np.array([None] * 16_000), 16_000, BadSamples, id="objects"),
        pytest.param(tone(16_000).reshape(10, 10, -1), 16_000, BadSamples, id="three axes"),
        pytest.param(np.float32(1), 16_000, BadSamples, id="a number"),
        pytest.param(np.array(1.0), 16_000, BadSamples, id="no axis"),
        pytest.param(None, 16_000, BadSamples, id="nothing"),
        pytest.param(b"RIFF", 16_000, BadSamples, id="rate with a file"),
        pytest.param(memoryview(b""), None, EmptyAudio, id="an empty view"),
    ],
)
def test_an_unusable_clip_is_a_typed_error(
    clip: object, rate: object, error: type[AudioError]
) -> None:
    with pytest.raises(error) as raised:
        read_clip(clip, rate)  # type: ignore[arg-type]
    assert type(raised.value) is error
    assert len(str(raised.value)) > 10


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (np.zeros(0, np.int16), EmptyAudio),
        (tone(16_000, 0.05), AudioTooShort),
        (nan_at(tone(16_000), np.nan), BadSamples),
    ],
)
def test_an_unusable_file_is_a_typed_error(
    samples: NDArray[np.generic], error: type[AudioError]
) -> None:
    with pytest.raises(error):
        read_clip(encoded(samples, 16_000, "WAV", "FLOAT"))


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(EmptyAudio):
        read_clip(tmp_path / "empty.wav")


def test_headerless_audio_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "clip.raw").write_bytes(bytes(1000))
    with pytest.raises(UnreadableAudio):
        read_clip(tmp_path / "clip.raw")


@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
)
def test_a_cut_compressed_file_is_refused_or_shorter(kind: str, subtype: str) -> None:
    whole = encoded(tone(48_000, 2), 48_000, kind, subtype)
    for share in (0.02, 0.3, 0.6, 0.9):
        try:
            samples = read_clip(whole[: int(len(whole) * share)])
        except AudioError:
            continue
        assert kind != "FLAC", "its header promised more"
        assert len(samples) < 32_000


def test_a_header_of_many_channels_is_refused() -> None:
    header = bytearray(encoded(tone(16_000), 16_000, "WAV", "PCM_16"))
    header[22:24] = struct.pack("<H", 1024)
    with pytest.raises(AudioError):
        read_clip(bytes(header))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM"]))
def test_random_bytes_raise_nothing_but_audio_errors(data: bytes, magic: bytes) -> None:
    try:
        samples = read_clip(magic + data)
    except AudioError:
        return
    assert np.isfinite(samples).all()


_WAV = encoded(tone(8_000, 0.2), 8_000, "WAV", "PCM_16")
_FLAC = encoded(tone(8_000, 0.2), 8_000, "FLAC", "PCM_16")
_OPUS = encoded(tone(8_000, 0.2), 8_000, "OGG", "OPUS")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([_WAV, _FLAC, _OPUS]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.05, 1),
)
def test_damaged_files_raise_nothing_but_audio_errors(
    whole: bytes, changes: list[tuple[int, int]], share: float
) -> None:
    data = bytearray(whole[: int(len(whole) * share)])
    for position, value in changes:
        data[position % len(data)] = value
    try:
        samples = read_clip(bytes(data))
    except AudioError:
        return
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        dtype=hnp.scalar_dtypes(), shape=hnp.array_shapes(min_dims=0, max_dims=3, max_side=12)
    ),
    st.one_of(st.none(), st.integers(-10, 400_000)),
)
def test_random_arrays_raise_nothing_but_audio_errors(
    samples: NDArray[np.generic], rate: int | None
) -> None:
    if samples.ndim:
        samples = np.repeat(samples, 200, axis=0)
    try:
        read_clip(samples, rate)
    except AudioError:
        return
