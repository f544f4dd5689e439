"""Recordings that are longer than a piece."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_clip, read_pieces
from ugsd_sdk.errors import AudioTooLong, BadSamples, UnreadableAudio

from tests.sdk.audio.clips import encoded, tone

RATE = 16_000
HOUR_S = 3_600


def noise(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((frames, channels))
    return samples.astype(np.float32)


def sparse_wav(path: Path, seconds: int, rate: int = RATE) -> Path:
    """A file of zeros that takes no room on the disk."""
    size = 2 * rate * seconds
    header = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    header += struct.pack("<HHIIHH4sI", 1, 1, rate, 2 * rate, 2, 16, b"data", size)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + size)
    return path


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(2_000, 40_000),
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    channels=st.integers(1, 3),
    piece_s=st.floats(0.05, 4),
    loud=st.sampled_from([1.0, 30.0]),
)
def test_pieces_join_to_the_whole_recording(
    frames: int, rate: int, channels: int, piece_s: float, loud: float
) -> None:
    samples = loud * noise(max(frames, rate // 8), channels)
    pieces = list(read_pieces(samples, rate, piece_s=piece_s))
    whole = read_clip(samples, rate)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert {len(piece) for piece in pieces[:-1]} <= {int(piece_s * RATE)}
    assert len(pieces[-1]) < piece_s * RATE + RATE
    assert len(pieces) == 1 or len(pieces[-1]) >= min(RATE, int(piece_s * RATE))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_pieces_are_resampled_without_a_seam(rate: int) -> None:
    samples = noise(70 * rate)
    at_once = soxr.resample(samples[:, 0], rate, RATE)
    joined = np.concatenate(list(read_pieces(samples, rate)))
    np.testing.assert_allclose(joined, at_once, atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [
        (29.5, [29.5]),
        (30.0, [30.0]),
        (30.0 + 1 / RATE, [30.0 + 1 / RATE]),
        (30.9, [30.9]),
        (31.0, [30.0, 1.0]),
        (60.5, [30.0, 30.5]),
        (75.0, [30.0, 30.0, 15.0]),
    ],
)
def test_pieces_have_30_seconds(seconds: float, lengths: list[float]) -> None:
    samples = noise(round(seconds * RATE))
    for clip, rate in ((samples, RATE), (encoded(samples, RATE, "WAV", "PCM_16"), None)):
        assert [len(piece) / RATE for piece in read_pieces(clip, rate)] == lengths


def test_a_short_clip_is_one_piece() -> None:
    clip = encoded(tone(44_100), 44_100, "FLAC")
    (piece,) = read_pieces(clip)
    np.testing.assert_array_equal(piece, read_clip(clip))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_every_format_is_read_in_pieces(kind: str) -> None:
    samples = 0.3 * np.sin(2 * np.pi * 300 * np.arange(70 * RATE) / RATE)
    data = encoded(samples, RATE, kind)
    pieces = list(read_pieces(data))
    assert [len(piece) for piece in pieces[:2]] == [30 * RATE, 30 * RATE]
    joined = np.concatenate(pieces)
    assert 0 <= len(joined) - len(samples) < 2_400
    spectrum = np.abs(np.fft.rfft(joined[RATE : 61 * RATE] * np.hanning(60 * RATE)))
    assert np.argmax(spectrum) == 300 * 60
    others = np.delete(spectrum, range(299 * 60, 301 * 60))
    assert others.max() < 0.02 * spectrum.max(), "there is a seam"


def test_damage_late_in_a_recording_is_found_first() -> None:
    data = encoded(noise(70 * RATE), RATE, "FLAC")
    with pytest.raises(UnreadableAudio, match="damaged"):
        next(read_pieces(data[:-1_000]))


def test_a_bad_sample_late_is_named_by_time() -> None:
    samples = noise(70 * RATE)
    samples[65 * RATE] = np.nan
    for clip, rate in ((samples, RATE), (encoded(samples, RATE, "WAV", "FLOAT"), None)):
        with pytest.raises(BadSamples, match=r"the first at 65\.000 s"):
            next(read_pieces(clip, rate))


MEASURED = """
import resource, sys
from pathlib import Path
from ugsd_sdk.audio.samples import read_pieces
import soxr, numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(len(piece) for piece in read_pieces(Path(sys.argv[1])))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in kB there")
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_an_hour_is_never_whole_in_memory(rate: int, tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "hour.wav", HOUR_S, rate)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True
    )
    count, more_kb = map(int, done.stdout.split())
    assert count == HOUR_S * RATE
    assert more_kb < 60_000, "the samples of an hour have 230 MB"


def test_beyond_12_hours_is_refused_at_once(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "long.wav", 12 * HOUR_S + 60, 8_000)
    started = time.monotonic()
    with pytest.raises(AudioTooLong, match=r"lasts 12\.0 h: give at most 12 h.*ffmpeg"):
        next(read_pieces(path))
    assert time.monotonic() - started < 2


def test_samples_beyond_12_hours_are_refused() -> None:
    long = np.lib.stride_tricks.as_strided(np.zeros(1), (13 * HOUR_S * 4_000,), (0,))
    with pytest.raises(AudioTooLong, match="give at most 12 h"):
        next(read_pieces(long, 4_000))


@pytest.mark.parametrize("piece_s", [0, -1, float("nan"), float("inf")])
def test_a_piece_has_a_length(piece_s: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        next(read_pieces(noise(RATE), RATE, piece_s=piece_s))


def test_a_reader_may_stop_after_a_piece() -> None:
    pieces = read_pieces(io.BytesIO(encoded(noise(70 * RATE), RATE, "FLAC")))
    assert len(next(pieces)) == 30 * RATE
    pieces.close()  # type: ignore[attr-defined]
