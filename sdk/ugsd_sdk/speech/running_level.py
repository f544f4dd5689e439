"""The level of a stream, as far as it is known: what the voice activity detector is scaled by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ugsd_sdk.speech.spans import SAMPLE_RATE, WINDOW_SAMPLES

__all__ = ["RunningLevel"]

_INITIAL = 1e-3
"""The level before anything was heard, as root mean square: -60 dBFS."""
_SUSTAINED_WINDOWS = 4
"""A sound that is shorter, such as a knock, does not raise the level for long."""
_ABOVE_SUSTAINED = 2.0
"""The loudest window of a voice is about so much above its loudest tenth of a second."""
_WINDOWS_PER_S = SAMPLE_RATE / WINDOW_SAMPLES
_SLOW_RELEASE = 10 ** (-1 / 20 / _WINDOWS_PER_S)
"""The level of sustained sound falls by 1 dB in a second."""
_FAST_RELEASE = 10 ** (-100 / 20 / _WINDOWS_PER_S)
"""That of a single window by 100 dB in a second."""
_LEAST = 1e-7


class RunningLevel:
    """Follows the loudest window of a stream, which rises at once and falls slowly.

    A quiet speaker after a loud one is still found: the detector hears voices that are 40 dB below
    the level.
    """

    def __init__(self) -> None:
        self._slow = _INITIAL
        self._fast = 0.0
        self._last = deque[float](maxlen=_SUSTAINED_WINDOWS)

    def after(self, windows: Iterable[float]) -> Iterator[float]:
        """Yield the level at each of the next ``windows``, whose root mean squares are given."""
        for rms in windows:
            self._last.append(rms)
            sustained = min(self._last) if len(self._last) == _SUSTAINED_WINDOWS else 0.0
            self._slow = max(self._slow * _SLOW_RELEASE, sustained * _ABOVE_SUSTAINED, _LEAST)
            self._fast = max(self._fast * _FAST_RELEASE, rms)
            yield max(self._slow, self._fast)
