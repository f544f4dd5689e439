"""Speech cut into the windows that an audio encoder reads.

An encoder whose result depends on how long a clip is, and on where in it a sound stands, hears
length instead of the voice. So speech of any length is brought to one level and read in windows of
about the same length, whose outputs are pooled together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL_RMS", "WINDOW_S", "encoder_windows", "pooled"]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_S = 2.0
"""A window is no longer; speech of more is cut into windows of equal length."""
LEVEL_RMS = 0.05
"""Root mean square to which speech is scaled: loudness is in the voice's effort, which the spectrum
shows, and not in the gain of a microphone."""


def encoder_windows(speech: Float32) -> Float32:
    """Cut speech (n,) at 16 kHz, n >= 1, into (k, m) windows of at most :data:`WINDOW_S` seconds,
    in order and at one level. Up to k - 1 samples at the end are dropped.
    """
    rms = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))
    levelled = speech * np.float32(LEVEL_RMS / rms) if rms > 0 else speech
    count = max(1, -(-len(speech) // round(WINDOW_S * SAMPLE_RATE)))
    length = len(speech) // count
    return np.ascontiguousarray(levelled[: count * length].reshape(count, length))


def pooled(embeddings: Sequence[Float32], durations_s: Sequence[float]) -> Float32:
    """Join the embeddings (E,) of pieces of one recording, weighted by their ``durations_s``.

    An embedding is the mean and the standard deviation of the encoder's outputs over time, E / 2
    numbers each; so is the result.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    stacked = np.stack(embeddings).astype(np.float64)
    means, deviations = np.split(stacked, 2, axis=1)
    weights = np.asarray(durations_s, dtype=np.float64)
    weights = weights[:, None] / weights.sum()
    mean = (weights * means).sum(0)
    variance = (weights * (deviations**2 + means**2)).sum(0) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0))]).astype(np.float32)
