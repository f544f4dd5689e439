"""A monotonic clock that also counts the time in which the machine sleeps.

For durations within one process; budgets need to know the boot as well, and have
:func:`ugsd_privacy.ledger.clock.system_uptime`.
"""

from __future__ import annotations

import time

__all__ = ["uptime_s"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Linux counts sleep in the first clock only, macOS in the second."""


def uptime_s() -> float:
    """Return seconds since an arbitrary moment; with those in sleep, where the system has such a
    clock."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
