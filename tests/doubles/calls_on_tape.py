"""Recorded calls: two speakers of the demonstration in turn, one on each channel."""

from __future__ import annotations

import numpy as np
import soundfile
from numpy.typing import NDArray
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

__all__ = ["call_of", "speaker_clips"]

Float32 = NDArray[np.float32]


def speaker_clips(speaker: str) -> list[Float32]:
    """Return the demonstration's clips (n,) at 16 kHz of speaker "15" or "16", at one level."""
    files = sorted((DrafterBundle.of(STARTER).folder / "clips").glob(f"{speaker}*.opus"))
    clips = [soundfile.read(file, dtype="float32")[0] for file in files]
    return [np.float32(0.05) * clip / np.sqrt(np.mean(clip**2)) for clip in clips]


def call_of(turns: int, *, leak_db: float | None = None, noise: float = 3e-4) -> Float32:
    """Return a call (n, 2): 15 speaks on the left, then 16 on the right, ``turns`` times each.

    ``leak_db`` is the level at which each voice leaks into the other channel.
    """
    left, right = list[Float32](), list[Float32]()
    pause = np.zeros(12_800, np.float32)
    for turn in range(turns):
        one, other = (clips[turn % len(clips)] for clips in map(speaker_clips, ("15", "16")))
        left += [one, pause, np.zeros_like(other), pause]
        right += [np.zeros_like(one), pause, other, pause]
    voices = np.stack([np.concatenate(left), np.concatenate(right)], axis=1)
    gain = 0.0 if leak_db is None else 10 ** (leak_db / 20)
    leaking = voices + np.float32(gain) * voices[:, ::-1]
    rng = np.random.default_rng(0)
    return (leaking + noise * rng.standard_normal(leaking.shape)).astype(np.float32)
