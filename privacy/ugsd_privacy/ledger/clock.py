"""Determine the hour to which an egress is charged.

An hour is a UTC hour number, and hours never move backwards: setting the clock back gains nothing.
While the machine runs, hours pass by its uptime and not by its clock. So setting the clock forward
gains nothing either, and a clock that was ahead does no lasting harm. The clock is read only after
a boot, and trusted if it is later than the last hour. So a person who may set the clock *and*
reboot the machine can begin new hours and days; the caps on a lifetime still hold.

If the system does not report its uptime, only the clock counts.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["SECONDS_PER_HOUR", "Start", "Uptime", "hour_of", "system_uptime", "time_of"]

SECONDS_PER_HOUR = 3600
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Uptime(NamedTuple):
    """The time since the machine booted."""

    boot: str
    """Identifier of this boot."""
    seconds: float
    """Seconds since the boot, including those in sleep."""


class Start(NamedTuple):
    """The reference from which hours are counted: a boot, its uptime then, and the clock then."""

    boot: str
    uptime_s: float
    time_s: float


def system_uptime() -> Uptime | None:
    """Return the system's uptime, on Linux; ``None`` if the system does not report it.

    For durations within one process ``ugsd_sdk.concurrency.uptime`` has a clock on every system.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return None
    boot = _boot_id()
    return None if boot is None else Uptime(boot, time.clock_gettime(clock))


@cache
def _boot_id() -> str | None:
    """Return the identifier of this boot, which cannot change while this process runs."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def hour_of(
    now_s: float, uptime: Uptime | None, start: Start | None, last_hour: int
) -> tuple[int, Start | None]:
    """Return the hour, and a new reference to count from unless ``start`` is still valid."""
    time_s = time_of(now_s, uptime, start, last_hour)
    hour = int(time_s // SECONDS_PER_HOUR)
    if uptime is None or (start is not None and uptime.boot == start.boot):
        return hour, None
    return hour, Start(uptime.boot, uptime.seconds, time_s)


def time_of(now_s: float, uptime: Uptime | None, start: Start | None, last_hour: int) -> float:
    """Return the Unix time in seconds by which hours are counted, at least that of the last
    hour."""
    if uptime is not None and start is not None and uptime.boot == start.boot:
        now_s = start.time_s + max(0.0, uptime.seconds - start.uptime_s)
    return max(now_s, float(last_hour * SECONDS_PER_HOUR))
