"""Recorded speech for tests that need a voice and not a corpus."""

from __future__ import annotations

import numpy as np
import soundfile
from numpy.typing import NDArray
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

__all__ = ["recorded_clips", "recorded_speech"]


def recorded_speech(seconds: float) -> NDArray[np.float32]:
    """Return (n,) float32 at 16 kHz from a clip of the demonstration, at most 1.5 s."""
    file = DrafterBundle.of(STARTER).folder / "clips" / "16a01Nc.opus"
    samples, rate = soundfile.read(file, dtype="float32")
    assert rate == 16_000
    return np.ascontiguousarray(samples[4_000 : 4_000 + round(16_000 * seconds)])


def recorded_clips() -> list[NDArray[np.float32]]:
    """Return seven different clips (n,) float32 at 16 kHz of one speaker of the demonstration."""
    files = sorted((DrafterBundle.of(STARTER).folder / "clips").glob("16*.opus"))
    return [np.ascontiguousarray(soundfile.read(file, dtype="float32")[0]) for file in files]
