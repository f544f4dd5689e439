"""The estimate of a time that is measured again and again, such as a round trip (RFC 6298 §2)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SmoothedTime"]

_SMOOTHED_SHARE, _DEVIATION_SHARE = 1 / 8, 1 / 4
"""Weights of a new sample: alpha and beta of RFC 6298."""


@dataclass(frozen=True)
class SmoothedTime:
    """A smoothed time and its mean deviation in seconds. It is never changed: each sample makes a
    new estimate."""

    expected_s: float
    """The smoothed time."""
    deviation_s: float
    """The smoothed distance of samples from it."""

    @property
    def late_s(self) -> float:
        """What the time rarely exceeds: the smoothed time and four deviations."""
        return self.expected_s + 4 * self.deviation_s

    @classmethod
    def first(cls, sample_s: float) -> SmoothedTime:
        """Return the estimate from one sample of at least 0 seconds."""
        return cls(sample_s, sample_s / 2)

    def after(self, sample_s: float) -> SmoothedTime:
        """Return the estimate after one more sample of at least 0 seconds."""
        distance_s = abs(sample_s - self.expected_s)
        return SmoothedTime(
            self.expected_s + _SMOOTHED_SHARE * (sample_s - self.expected_s),
            self.deviation_s + _DEVIATION_SHARE * (distance_s - self.deviation_s),
        )
