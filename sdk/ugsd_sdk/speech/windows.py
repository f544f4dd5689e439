"""Speech cut into the windows that an audio encoder reads, and their embeddings pooled.

An encoder that was trained on clips of a few seconds reacts to the length of longer clips instead
of the voice. So speech of any length is read in windows of about the same length, whose outputs are
pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SPEECH_RMS",
    "WINDOW_S",
    "embed_in_windows",
    "encoder_windows",
    "levelled",
    "pooled",
]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_S = 2.25
"""Longer speech is cut into windows of at most this and of equal length."""
SPEECH_RMS = 0.05
"""Level to which speech is scaled, as root mean square: -26 dBFS."""


def embed_in_windows(
    encode: Callable[[Float32], Float32], speech: Float32, window_s: float = WINDOW_S
) -> Float32:
    """Return the embedding (E,) of speech (n,) at 16 kHz, n >= 1, of which ``encode`` embeds one
    window (m,) of at most ``window_s`` seconds at a time.

    All speech is read at one level: how loud it is says more about the microphone than about the
    voice, whose effort shows in its spectrum.
    """
    windows = encoder_windows(levelled(speech), window_s)
    return pooled([encode(window) for window in windows], [len(window) for window in windows])


def levelled(speech: Float32) -> Float32:
    """Scale speech (n,) to :data:`SPEECH_RMS`; silence stays silent."""
    rms = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))
    return speech * np.float32(SPEECH_RMS / rms) if rms else speech


def encoder_windows(speech: Float32, window_s: float = WINDOW_S) -> list[Float32]:
    """Cut speech (n,) at 16 kHz, n >= 1, into consecutive windows of equal length, up to a sample,
    of at most ``window_s`` seconds."""
    count = max(1, -(-len(speech) // round(window_s * SAMPLE_RATE)))
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
