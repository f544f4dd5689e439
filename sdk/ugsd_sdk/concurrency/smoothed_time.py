"""A time that is measured again and again, such as a round trip (RFC 6298 §2)."""

from __future__ import annotations

__all__ = ["SmoothedTime"]

_GAIN, _DEVIATION_GAIN, _DEVIATIONS = 1 / 8, 1 / 4, 4


class SmoothedTime:
    """The smoothed value of a time and of its deviation, in seconds; ``None`` before the first
    measurement."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def add(self, seconds: float) -> None:
        """Add a measurement of ``seconds``, 0 or more."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = seconds, seconds / 2
            return
        error_s = seconds - self._mean_s
        self._deviation_s += _DEVIATION_GAIN * (abs(error_s) - self._deviation_s)
        self._mean_s += _GAIN * error_s

    @property
    def expected_s(self) -> float | None:
        """The smoothed time."""
        return self._mean_s

    @property
    def late_s(self) -> float | None:
        """A time that is rarely exceeded: the smoothed time and four deviations."""
        return None if self._mean_s is None else self._mean_s + _DEVIATIONS * self._deviation_s
