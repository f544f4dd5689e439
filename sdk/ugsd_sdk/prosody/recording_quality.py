"""What in a recording makes its measures less certain: too quiet, clipped, noisy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.prosody.percentiles import median

__all__ = ["Clipping", "Noise", "RecordingNote", "recording_notes"]

Float32 = NDArray[np.float32]

_QUIET_DBFS = -50.0
_CLIPPED_SHARE = 1e-3
"""Share of the samples of speech that lie in runs at the extreme."""
_EXTREME = 0.999
"""Samples within this of the highest are at the extreme."""
_MIN_RUN = 3
_NOISY_SNR_DB = 10.0
_HOP = 160
_DIGITAL_SILENCE_DB = -80.0
"""Sound so far below the speech was put there by a computer: it says nothing about noise."""


class RecordingNote(StrEnum):
    """A reason to trust a recording less."""

    TOO_QUIET = "too_quiet"
    """Speech is below -50 dBFS."""
    CLIPPED = "clipped"
    """Peaks of the sound are cut off."""
    NOISY = "noisy"
    """Speech is less than 10 dB above the noise."""


@dataclass
class Clipping:
    """Counts the samples in runs at the extreme of what was added so far."""

    _extreme: float = 0.0
    _at_extreme: int = 0
    _total: int = 0

    def add(self, speech: Float32) -> None:
        """Count the samples of more speech (n,)."""
        magnitudes = np.abs(speech)
        extreme = float(magnitudes.max(initial=0))
        self._total += len(speech)
        if extreme > self._extreme:
            if extreme * _EXTREME > self._extreme:
                self._at_extreme = 0
            self._extreme = extreme
        if extreme > 0 and extreme >= self._extreme * _EXTREME:
            at = magnitudes >= self._extreme * _EXTREME
            if np.count_nonzero(at) >= _MIN_RUN:
                edges = np.flatnonzero(np.diff(np.concatenate(([0], at.astype(np.int8), [0]))))
                lengths = edges[1::2] - edges[::2]
                self._at_extreme += int(lengths[lengths >= _MIN_RUN].sum())

    @property
    def share(self) -> float:
        """Share of the samples, from 0 to 1."""
        return self._at_extreme / self._total if self._total else 0.0


class Noise:
    """The level of what is not speech."""

    def __init__(self) -> None:
        self._levels: list[tuple[float, int]] = []

    def add(self, piece: Float32, spans_mask: NDArray[np.bool_], speech_db: float) -> None:
        """Measure ``piece`` (n,) where ``spans_mask`` (n,) is false. ``speech_db`` is the level of
        the speech in it."""
        count = len(piece) // _HOP
        powers = np.square(piece[: count * _HOP].reshape(count, _HOP), dtype=np.float64).mean(
            axis=1
        )
        is_outside = ~spans_mask[: count * _HOP].reshape(count, _HOP).any(axis=1)
        outside = powers[is_outside]
        outside = outside[outside > 10 ** ((speech_db + _DIGITAL_SILENCE_DB) / 10)]
        if len(outside):
            self._levels.append((float(10 * np.log10(median(outside))), len(outside)))

    @property
    def level_db(self) -> float | None:
        """Level relative to full scale; ``None`` without any sound outside the speech."""
        if not self._levels:
            return None
        levels, counts = np.array(self._levels).T
        order = levels.argsort()
        middle = np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)
        return float(levels[order[middle]])


def recording_notes(
    speech_db: float, noise_db: float | None, clipped_share: float
) -> tuple[RecordingNote, ...]:
    """Return the notes on a recording, whose speech has the level ``speech_db`` relative to full
    scale, its own noise included. ``noise_db`` is the noise's level, if known, and
    ``clipped_share`` the share of samples at the extreme."""
    ratio = np.inf if noise_db is None else 10 ** ((speech_db - noise_db) / 10) - 1
    holds = {
        RecordingNote.TOO_QUIET: speech_db < _QUIET_DBFS,
        RecordingNote.CLIPPED: clipped_share >= _CLIPPED_SHARE,
        RecordingNote.NOISY: ratio < 10 ** (_NOISY_SNR_DB / 10),
    }
    return tuple(note for note, is_so in holds.items() if is_so)
