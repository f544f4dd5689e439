"""Cross-talk: one speaker's voice that leaks into another channel, silenced there before anything
looks for speech.

Decided by levels alone. In windows of 0.8 s, the level of each channel is compared with that of
each other one, in those frames where the other one is loud. Where a channel only holds what leaks
from the other, it is quieter by a nearly constant amount. Two people who talk at the same time are
not: their levels rise and fall by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ugsd_sdk.audio.segments import Float32

__all__ = ["without_crosstalk"]

_HOP = 320
"""Samples of a frame: 20 ms at 16 kHz."""
_SMOOTHING_FRAMES = 3
"""Levels are those of 60 ms, since leaking sound may be late by the width of a room."""
_WINDOW_FRAMES = 40
_MIN_LOUD_FRAMES = 10
_LOUD_RANGE_DB = 15.0
"""A frame of the other channel is loud within this of its loudest in the window."""
_FAINTEST_DB = -70.0
"""Below it nothing leaks audibly."""
MIN_LEAK_DB = 4.0
"""Leaking sound is at least so much quieter than its source."""
_MAX_DEVIATION_DB = 2.5
"""Largest median deviation of the difference from its median in a window."""

_MAX_DEVIATION_SHARE = 0.8
"""The same, relative to that of the other channel's level."""


def without_crosstalk(pieces: Iterable[Float32]) -> Iterator[Float32]:
    """Yield the pieces (n, k) of a recording with zeros where a channel holds only what leaks from
    another. Pieces begin and end a little later than those that are given."""
    held = np.zeros((0, 0), np.float32)
    context = _WINDOW_FRAMES * _HOP
    begun = 0
    """Samples of ``held`` that were returned already and are kept as context."""
    for piece in pieces:
        if piece.shape[1] < 2:
            yield piece
            continue
        held = np.concatenate([held, piece]) if len(held) else piece
        whole = len(held) // _HOP * _HOP
        ready = whole - context
        if ready <= begun:
            continue
        clean = _silenced(held[:whole])
        yield clean[begun:ready]
        start = max(0, ready - context)
        held, begun = held[start:], ready - start
    if len(held) > begun:
        yield _silenced(held)[begun:]


def _silenced(sound: Float32) -> Float32:
    """Return ``sound`` (n, k) without the frames that leak; a last part of a frame stays."""
    count = len(sound) // _HOP
    if count < _WINDOW_FRAMES:
        return sound
    levels = _levels_db(sound[: count * _HOP])
    clean = sound.copy()
    for channel in range(sound.shape[1]):
        leaks = np.zeros(count, np.bool_)
        for other in range(sound.shape[1]):
            if other != channel:
                leaks |= _leaks(levels[:, channel], levels[:, other])
        clean[: count * _HOP, channel][np.repeat(leaks, _HOP)] = 0
    return clean


def _levels_db(sound: Float32) -> NDArray[np.float64]:
    """Return the level (frames, k) of each frame and its neighbours."""
    frames = sound.reshape(-1, _HOP, sound.shape[1])
    power = np.einsum("fnk,fnk->fk", frames, frames, dtype=np.float64) / _HOP
    kernel = np.full(_SMOOTHING_FRAMES, 1 / _SMOOTHING_FRAMES)
    smooth = np.stack([np.convolve(one, kernel, "same") for one in power.T], axis=1)
    return np.asarray(10 * np.log10(smooth + 1e-12))


def _leaks(level: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the frames (n,) in which the channel with ``level`` holds only what leaks from the
    ``other``, n >= the frames of a window."""
    difference = other - level
    loudest = sliding_window_view(other, _WINDOW_FRAMES).max(axis=1)
    others = sliding_window_view(other, _WINDOW_FRAMES)
    is_loud = (others >= (loudest - _LOUD_RANGE_DB)[:, None]) & (others >= _FAINTEST_DB)
    inside = np.where(is_loud, sliding_window_view(difference, _WINDOW_FRAMES), np.nan)
    enough = is_loud.sum(axis=1) >= _MIN_LOUD_FRAMES
    windows = np.flatnonzero(enough)
    leaks = np.zeros(len(level), np.bool_)
    if not len(windows):
        return leaks
    inside = inside[windows]
    middle = np.nanmedian(inside, axis=1)
    deviation = np.nanmedian(np.abs(inside - middle[:, None]), axis=1)
    loud = np.where(is_loud, others, np.nan)[windows]
    spread = np.nanmedian(np.abs(loud - np.nanmedian(loud, axis=1)[:, None]), axis=1)
    is_steady = deviation <= np.minimum(_MAX_DEVIATION_DB, _MAX_DEVIATION_SHARE * spread)
    found = windows[(middle >= MIN_LEAK_DB) & is_steady]
    for start in found:
        leaks[start : start + _WINDOW_FRAMES] = True
    return leaks & (difference >= MIN_LEAK_DB)
