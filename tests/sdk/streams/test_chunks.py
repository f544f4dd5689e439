"""Chunks in the forms that sources give them."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_sdk.errors import BadSamples
from ugsd_sdk.streams.chunks import AudioChunk, mono_chunk

HALF = np.full(160, 0.5, np.float32)
INT16 = np.full(160, 2**14, np.int16)


@pytest.mark.parametrize(
    "item",
    [
        HALF,
        HALF.astype(np.float64),
        HALF.tolist(),
        np.stack([HALF * 2, HALF * 0], axis=1),
        INT16,
        np.stack([INT16, INT16], axis=1),
        INT16.tobytes(),
        bytearray(INT16.tobytes()),
        AudioChunk(HALF, start_s=3.0),
        AudioChunk(INT16.tobytes(), 16_000),
    ],
    ids=[
        "float32", "float64", "list", "two channels", "int16", "int16 stereo", "bytes", "bytearray",
        "chunk", "chunk of bytes",
    ],
)  # fmt: skip
def test_chunk_becomes_mono(item: object) -> None:
    chunk = mono_chunk(item, 16_000)

    assert np.array_equal(chunk.samples, HALF)
    assert chunk.samples.dtype == np.float32
    assert chunk.duration_s == 0.01


@pytest.mark.parametrize(
    ("item", "rate", "message"),
    [
        (HALF, None, "sample_rate"),
        (HALF, 100, "100 Hz"),
        (AudioChunk(HALF, 3.5), 16_000, "whole number"),
        (HALF * np.nan, 16_000, "NaN"),
        (np.array([0, np.inf]), 16_000, "NaN or infinite"),
        (INT16.astype(np.int32), 16_000, "int32"),
        (b"abc", 16_000, "2 bytes"),
        (np.zeros((10, 9)), 16_000, "shape"),
        ("text", 16_000, "not str"),
        (AudioChunk(HALF, start_s=float("nan")), 16_000, "finite"),
    ],
)
def test_unusable_chunk_is_refused(item: object, rate: float | None, message: str) -> None:
    with pytest.raises(BadSamples, match=message):
        mono_chunk(item, rate)


def test_empty_chunk_is_allowed() -> None:
    assert not len(mono_chunk(np.zeros((0, 2), np.int16), 16_000).samples)


@pytest.mark.parametrize("start_s", ["a", [1], 10**400, -1e308, 1e308, True, float("inf")])
def test_unusable_time_stamps_are_refused(start_s: object) -> None:
    with pytest.raises(BadSamples, match="or None"):
        mono_chunk(AudioChunk(HALF, start_s=start_s), 16_000)  # type: ignore[arg-type]
