"""Read what a user's budget still allows from the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ugsd_privacy.budget import BudgetLimits, Usage, Window
from ugsd_privacy.ledger.clock import Uptime, system_uptime
from ugsd_privacy.ledger.store import Ledger

__all__ = ["UserBudget"]


class UserBudget:
    """Reads the budget of ``user`` from an open ``ledger``; ``limits`` are the configured caps.

    ``clock`` returns Unix time in seconds, ``uptime`` the time since the machine booted.
    ``timeout_s`` is how many seconds a call waits at most for other threads and processes; ``None``
    means the ledger's own timeout. Every method raises :class:`LedgerUnavailable` or
    :class:`LedgerCorrupt`.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        limits: BudgetLimits,
        user: str = "",
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = system_uptime,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._user = user
        self._clock = clock
        self._uptime = uptime

    def limits(self, *, timeout_s: float | None = None) -> BudgetLimits:
        """Return the caps that apply: each as configured, or as the owner set it on this device if
        that is smaller."""
        with self._ledger.reading(timeout_s=timeout_s) as view:
            return self._limits.with_stricter_caps(view.caps(self._user))

    def usage(self, caption: bytes, *, timeout_s: float | None = None) -> Usage:
        """Return what the caption with this id has used so far."""
        with self._ledger.reading(timeout_s=timeout_s) as view:
            return view.usage(self._user, "caption", caption)

    def used(self, *, timeout_s: float | None = None) -> Mapping[Window, Usage]:
        """Return what the user has used in the hour and the day that would be charged now, and in
        the lifetime."""
        now_s, uptime = self._clock(), self._uptime()
        with self._ledger.reading(timeout_s=timeout_s) as view:
            return view.used(self._user, view.hour_of(now_s, uptime))

    def remaining(
        self, caption: bytes | None, *, timeout_s: float | None = None
    ) -> Mapping[str, float]:
        """Return what each cap still allows, by its name as in :meth:`BudgetLimits.remaining`.

        Caps per caption are those of the caption with this id, or whole if it is ``None``. All
        values are read at one moment.
        """
        now_s, uptime = self._clock(), self._uptime()
        with self._ledger.reading(timeout_s=timeout_s) as view:
            limits = self._limits.with_stricter_caps(view.caps(self._user))
            used = dict(view.used(self._user, view.hour_of(now_s, uptime)))
            if caption is not None:
                used["caption"] = view.usage(self._user, "caption", caption)
        return limits.remaining(used)
