"""How much of a machine's cores this process, the others and nobody used, read from ``/proc``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from ugsd_sdk.calls.core_slots import usable_cores

__all__ = ["MachineLoad"]

_STAT = Path("/proc/stat")
_IDLE, _IO_WAIT = 3, 4
"""Places of counters in the first line of that file (proc(5))."""
_NUM_COUNTERS = 8
"""The later ones count guests, who are counted among the users already."""


class MachineLoad(NamedTuple):
    """Shares of the cores' time, 0 to 1; NaN where the system does not say."""

    idle: float
    """Used by nobody."""
    others: float
    """Used by other processes, and by the host of a virtual machine."""

    @classmethod
    def counters(cls) -> tuple[int, ...]:
        """Return the counters at this moment, for :meth:`since`; empty without ``/proc``."""
        if not _STAT.exists():
            return ()
        line = _STAT.read_text(encoding="ascii").partition("\n")[0]
        return tuple(map(int, line.split()[1 : 1 + _NUM_COUNTERS]))

    @classmethod
    def since(cls, before: tuple[int, ...], *, seconds: float, own_cpu_s: float) -> Self:
        """Return the load since the counters were ``before``, ``seconds`` ago. This process used
        ``own_cpu_s`` of it."""
        spent = [now - then for now, then in zip(cls.counters(), before, strict=True)]
        if not sum(spent):
            return cls(float("nan"), float("nan"))
        idle = (spent[_IDLE] + spent[_IO_WAIT]) / sum(spent)
        own = own_cpu_s / (seconds * usable_cores())
        return cls(idle, max(1 - idle - own, 0.0))
