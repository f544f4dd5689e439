"""Recorded calls: two speakers of the demonstration in turn, one on each channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soundfile
from numpy.typing import NDArray
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

__all__ = ["call_between", "call_of", "speaker_clips"]

Float32 = NDArray[np.float32]


def speaker_clips(speaker: str, *names: str) -> list[Float32]:
    """Return the demonstration's clips (n,) at 16 kHz of speaker "15" or "16", at one level; those
    with ``names`` such as "a01Nc", or all."""
    folder = DrafterBundle.of(STARTER).folder / "clips"
    files = [folder / f"{speaker}{name}.opus" for name in names]
    clips = [
        soundfile.read(file, dtype="float32")[0]
        for file in files or sorted(folder.glob(f"{speaker}*.opus"))
    ]
    return [np.float32(0.05) * clip / np.sqrt(np.mean(clip**2)) for clip in clips]


def call_of(turns: int, *, leak_db: float | None = None, noise: float = 3e-4) -> Float32:
    """Return a call (n, 2): 15 speaks on the left, then 16 on the right, ``turns`` times each.

    ``leak_db`` is the level at which each voice leaks into the other channel.
    """
    one, other = speaker_clips("15"), speaker_clips("16")
    return call_between(
        [one[turn % len(one)] for turn in range(turns)],
        [other[turn % len(other)] for turn in range(turns)],
        leak_db=leak_db,
        noise=noise,
    )


def call_between(
    on_left: Sequence[Float32],
    on_right: Sequence[Float32],
    *,
    leak_db: float | None = None,
    noise: float = 3e-4,
) -> Float32:
    """Return a call (n, 2) at 16 kHz in which two people speak these clips (m,) in turn."""
    left, right = list[Float32](), list[Float32]()
    pause = np.zeros(12_800, np.float32)
    for one, other in zip(on_left, on_right, strict=True):
        left += [one, pause, np.zeros_like(other), pause]
        right += [np.zeros_like(one), pause, other, pause]
    voices = np.stack([np.concatenate(left), np.concatenate(right)], axis=1)
    gain = 0.0 if leak_db is None else 10 ** (leak_db / 20)
    leaking = voices + np.float32(gain) * voices[:, ::-1]
    rng = np.random.default_rng(0)
    return (leaking + noise * rng.standard_normal(leaking.shape)).astype(np.float32)
