"""Speech cut into the windows that an audio encoder reads, and their embeddings pooled.

An encoder that was trained on clips of a few seconds hears length instead of the voice in longer
ones. So speech of any length is read in windows of about the same length, whose outputs are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SCALED_RMS",
    "USUAL_RMS",
    "WINDOW_S",
    "embed_in_windows",
    "encoder_windows",
    "levelled",
    "pooled",
]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_S = 4.5
"""Longer speech is cut into windows of at most this and of equal length."""
USUAL_RMS = (0.005, 0.2)
"""Least and greatest level of speech, as root mean square, that is read as it is: -46, -14 dBFS."""
SCALED_RMS = 0.05
"""Level to which other speech is scaled."""


def embed_in_windows(encode: Callable[[Float32], Float32], speech: Float32) -> Float32:
    """Return the embedding (E,) of speech (n,) at 16 kHz, n >= 1, of which ``encode`` embeds one
    window (m,) at a time.

    Speech outside of the levels at which people record is scaled first: how loud it is says more
    about the microphone than about the voice, whose effort shows in its spectrum.
    """
    windows = encoder_windows(levelled(speech))
    return pooled([encode(window) for window in windows], [len(window) for window in windows])


def levelled(speech: Float32) -> Float32:
    """Scale speech (n,) to :data:`SCALED_RMS` if its level is outside of :data:`USUAL_RMS`; silence
    stays silent."""
    rms = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))
    if rms == 0 or USUAL_RMS[0] <= rms <= USUAL_RMS[1]:
        return speech
    return speech * np.float32(SCALED_RMS / rms)


def encoder_windows(speech: Float32) -> list[Float32]:
    """Cut speech (n,) at 16 kHz, n >= 1, into consecutive windows of equal length, up to a sample,
    of at most :data:`WINDOW_S` seconds."""
    count = max(1, -(-len(speech) // round(WINDOW_S * SAMPLE_RATE)))
    return np.array_split(speech, count)


def pooled(embeddings: Sequence[Float32], weights: Sequence[float]) -> Float32:
    """Join the embeddings (E,) of parts of one recording by ``weights``, such as their lengths.

    An embedding is the mean and the standard deviation of the encoder's outputs over time, E / 2
    numbers each; so is the result.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    stacked = np.stack(embeddings).astype(np.float64)
    means, deviations = np.split(stacked, 2, axis=1)
    shares = np.asarray(weights, dtype=np.float64)[:, None] / np.sum(weights)
    mean = (shares * means).sum(0)
    variance = (shares * (deviations**2 + means**2)).sum(0) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0))]).astype(np.float32)
