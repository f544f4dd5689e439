"""The level of a stream, as far as it is known: what the voice activity detector is scaled by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ugsd_sdk.speech.spans import SAMPLE_RATE, WINDOW_SAMPLES

__all__ = ["RunningLevel"]

_WINDOWS_PER_S = SAMPLE_RATE / WINDOW_SAMPLES
_INITIAL = 1e-3
"""The level before anything was heard, as root mean square: -60 dBFS."""
_LEAST = 1e-7
_SUSTAINED_WINDOWS = 4
"""A sound that is shorter, such as a knock, does not raise the level for long."""
_ABOVE_SUSTAINED = 2.0
"""The loudest window of a voice is about so much above its loudest tenth of a second."""


def _release(db_per_s: float) -> float:
    """Return the factor by which a level falls in one window."""
    return float(10 ** (-db_per_s / 20 / _WINDOWS_PER_S))


_KNOCK_RELEASE = _release(100.0)


class RunningLevel:
    """Follows the loudest window of a stream, which rises at once and falls slowly."""

    def __init__(self, release_db_per_s: float) -> None:
        self._release = _release(release_db_per_s)
        self._sustained = _INITIAL
        self._knock = 0.0
        self._last = deque[float](maxlen=_SUSTAINED_WINDOWS)

    def after(self, windows: Iterable[float]) -> Iterator[float]:
        """Yield the level at each of the next ``windows``, whose root mean squares are given."""
        for rms in windows:
            self._last.append(rms)
            sustained = min(self._last) if len(self._last) == _SUSTAINED_WINDOWS else 0.0
            self._sustained = max(self._sustained * self._release, sustained * _ABOVE_SUSTAINED)
            self._knock = max(self._knock * _KNOCK_RELEASE, rms)
            yield max(self._sustained, self._knock, _LEAST)
