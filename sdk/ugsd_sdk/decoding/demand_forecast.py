"""How many questions to expect until a window ends, from those of the past days and of today.

Days are alike, more or less: the forecast is the mean of the earlier days' counts in the hours to
come, times how much busier today has been so far than they were by this time. On the first day,
questions are expected to go on at the rate so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR

__all__ = ["Demand"]

_MAX_DAYS = 7
"""Earlier days that count."""
_HOURS_PER_DAY = 24
_PRIOR = 100.0
"""Questions by which both counts of so far are increased, since a few say little about the day: a
burst in the morning does not make a busy evening."""
_SHARE = 0.75
"""The forecast is reduced to this share. An estimate that is too high leaves budget unused at the
end, which costs more than a price that is a little too low; and counts have long tails."""
_LEAST_ELAPSED_S = 7200.0
"""On the first day, the rate is not taken over less time than this, so that a folder of recordings
is not taken for a busy day."""
_SMOOTHING = 0.5
"""Weight, in days, of a day without peaks: an hour without questions so far may have some."""


@dataclass(frozen=True)
class Demand:
    """The number of questions in each hour, and the time of the first, both in Unix time."""

    by_hour: Mapping[int, int]
    first_s: float | None = None

    def expected(self, now_s: float, ends_s: float) -> float:
        """Return the expected number of questions from ``now_s`` to ``ends_s``, which is on the
        same UTC day, without the present one."""
        if ends_s <= now_s:
            return 0.0
        hour = int(now_s // SECONDS_PER_HOUR)
        midnight = hour - hour % _HOURS_PER_DAY
        today = sum(self.by_hour.get(one, 0) for one in range(midnight, hour + 1))
        days = self._days_before(midnight)
        if not days:
            return _SHARE * self._rate(today, midnight, now_s) * (ends_s - now_s)
        usual = self._usual(midnight, days)
        start_s = midnight * SECONDS_PER_HOUR
        by_now = _count(usual, 0.0, now_s - start_s)
        rest = _count(usual, now_s - start_s, ends_s - start_s)
        return _SHARE * rest * (today + _PRIOR) / (by_now + _PRIOR)

    def _days_before(self, midnight: int) -> int:
        """Return how many whole days before ``midnight`` have counts, ``_MAX_DAYS`` at most."""
        earliest = min((hour for hour in self.by_hour if hour < midnight), default=midnight)
        return min(_MAX_DAYS, -((earliest - midnight) // _HOURS_PER_DAY))

    def _usual(self, midnight: int, days: int) -> list[float]:
        """Return the usual number of questions in each hour of the day."""
        counts = [
            sum(
                self.by_hour.get(midnight - _HOURS_PER_DAY * day + hour, 0)
                for day in range(1, days + 1)
            )
            for hour in range(_HOURS_PER_DAY)
        ]
        mean = sum(counts) / days / _HOURS_PER_DAY
        return [(count + _SMOOTHING * mean) / (days + _SMOOTHING) for count in counts]

    def _rate(self, today: int, midnight: int, now_s: float) -> float:
        """Return questions per second since the first one of today."""
        began_s = float(midnight * SECONDS_PER_HOUR)
        if self.first_s is not None:
            began_s = max(began_s, self.first_s)
        return today / max(now_s - began_s, _LEAST_ELAPSED_S)


def _count(by_hour: list[float], from_s: float, to_s: float) -> float:
    """Return the number of questions between two times of the day, in seconds."""
    total = 0.0
    for hour, count in enumerate(by_hour):
        start_s = hour * SECONDS_PER_HOUR
        overlap_s = min(to_s, start_s + SECONDS_PER_HOUR) - max(from_s, start_s)
        total += count * max(overlap_s, 0.0) / SECONDS_PER_HOUR
    return total
