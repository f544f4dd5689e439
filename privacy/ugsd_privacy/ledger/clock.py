"""Which hour a passage is charged to.

An hour is a UTC hour number, and hours never move backwards: a clock set back buys nothing. While
the machine runs, hours pass as it counts them, not as its clock is set, so that a clock set
forward buys nothing either, and one that ran ahead does no lasting harm. Only after a start is the
clock asked, and it is believed where it is later. So whoever may set the clock *and* restart the
machine begins new hours and days; the caps on a lifetime hold all the same.

Where the system does not tell how long it has been running, the clock alone counts.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["SECONDS_PER_HOUR", "Start", "Uptime", "hour_of", "system_uptime"]

SECONDS_PER_HOUR = 3600
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Uptime(NamedTuple):
    """How long the machine has been running."""

    boot: str
    """Names this start of it."""
    seconds: float
    """Since then, those asleep included."""


class Start(NamedTuple):
    """When hours were last counted from: a start of the machine, and what its clock said."""

    boot: str
    uptime_s: float
    time_s: float


def system_uptime() -> Uptime | None:
    """The system's, on Linux; ``None`` where it does not tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return None
    boot = _boot_id()
    return None if boot is None else Uptime(boot, time.clock_gettime(clock))


@cache
def _boot_id() -> str | None:
    """The same as long as this process runs."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def hour_of(
    now_s: float, uptime: Uptime | None, start: Start | None, last_hour: int
) -> tuple[int, Start | None]:
    """The hour, and the start to count from where it is another one than ``start``."""
    if uptime is not None and start is not None and uptime.boot == start.boot:
        time_s = start.time_s + max(0.0, uptime.seconds - start.uptime_s)
        return max(int(time_s // SECONDS_PER_HOUR), last_hour), None
    time_s = max(now_s, float(last_hour * SECONDS_PER_HOUR))
    begun = None if uptime is None else Start(uptime.boot, uptime.seconds, time_s)
    return int(time_s // SECONDS_PER_HOUR), begun
