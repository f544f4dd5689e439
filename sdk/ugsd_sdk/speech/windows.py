"""Speech cut into the windows that an audio encoder reads, and their embeddings pooled.

An encoder that was trained on clips of a few seconds reacts to the length of longer clips instead
of the voice. So speech of any length is read in windows of about the same length, whose outputs are
pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import current_call

__all__ = [
    "FRAME_SAMPLES",
    "SPEECH_RMS",
    "WINDOW_S",
    "embed_in_windows",
    "embed_windows",
    "encoder_frames",
    "encoder_windows",
    "levelled",
    "pooled",
]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 400
"""An encoder reads frames of 25 ms."""
_HOP = 160
_MAX_BATCH = 4
"""Windows that an encoder reads at once: more need more memory, and are hardly faster."""
WINDOW_S = 2.25
"""Longer speech is cut into windows of at most this and of equal length."""
SPEECH_RMS = 0.05
"""Level to which speech is scaled, as root mean square: -26 dBFS."""


def embed_in_windows(
    encode: Callable[[Float32], Float32], speech: Float32, window_s: float = WINDOW_S
) -> Float32:
    """Return the embedding (E,) of speech (n,) at 16 kHz, n >= 400, read in windows of at most
    ``window_s`` seconds. ``encode`` is that of :func:`embed_windows`.

    All speech is read at one level: how loud it is says more about the microphone than about the
    voice, whose effort shows in its spectrum.
    """
    windows = encoder_windows(levelled(speech), window_s)
    return pooled(embed_windows(encode, windows), [len(window) for window in windows])


def embed_windows(
    encode: Callable[[Float32], Float32], windows: Sequence[Float32]
) -> list[Float32]:
    """Return the embedding (E,) of each window (m,). ``encode`` maps the frames (N, F, 400) of N
    windows to their embeddings (N, E). Raises a :class:`~ugsd_sdk.errors.CallEnded` between two
    batches if the current call has ended."""
    return [embedding for batch in _batches(windows) for embedding in encode(batch)]


def _batches(windows: Sequence[Float32]) -> Iterator[Float32]:
    """Yield the frames (N, F, 400) of consecutive windows that have the same number of them."""
    for _, group in groupby(map(encoder_frames, windows), len):
        frames = list(group)
        for first in range(0, len(frames), _MAX_BATCH):
            current_call().check()
            yield np.stack(frames[first : first + _MAX_BATCH])


def encoder_frames(window: Float32) -> Float32:
    """Return the frames (F, 400) around every 160th sample of ``window`` (m,), F = m // 160, which
    is mirrored at its ends."""
    mirrored = np.pad(window, FRAME_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, FRAME_SAMPLES)
    return frames[: len(window) // _HOP * _HOP : _HOP]


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
