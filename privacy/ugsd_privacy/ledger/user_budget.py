"""Read what a user's budget still allows from the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ugsd_privacy.budget import BudgetLimits, Usage, Window
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR, Uptime, system_uptime
from ugsd_privacy.ledger.journal import NO_QUESTIONS, Questions
from ugsd_privacy.ledger.store import Ledger

__all__ = ["HISTORY_S", "MAX_RECENT", "BudgetStanding", "UserBudget"]

MAX_RECENT = 1024
"""The latest questions whose worth and cost are read."""
HISTORY_S = 8 * 24 * SECONDS_PER_HOUR
"""How long ago questions count, in seconds."""


@dataclass(frozen=True)
class BudgetStanding:
    """The caps of a user and what was used of them at one moment."""

    limits: BudgetLimits
    used: Mapping[Window, Usage]
    """What was used in each window; that of a caption is missing before its first block,
    and that of a recording for a caption that belongs to none."""
    time_s: float
    """Unix time in seconds by which hours are counted."""
    questions: Questions = NO_QUESTIONS
    """The user's questions in the journal that were asked for."""


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
        self,
        caption: bytes | None,
        *,
        recording: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Mapping[str, float]:
        """Return what each cap still allows, by its name as in :meth:`BudgetLimits.remaining`.

        Caps per caption are those of the caption with this id, or whole if it is ``None``; so are
        those of a recording. All values are read at one moment.
        """
        standing = self.standing(caption, recording=recording, timeout_s=timeout_s)
        return standing.limits.remaining(standing.used)

    def standing(
        self,
        caption: bytes | None,
        *,
        recording: bytes | None = None,
        questions_after: int | None = None,
        timeout_s: float | None = None,
    ) -> BudgetStanding:
        """Return the caps that apply, what was used of them, and, if ``questions_after`` is a row
        of the journal, the questions after it; all read at one moment."""
        now_s, uptime = self._clock(), self._uptime()
        with self._ledger.reading(timeout_s=timeout_s) as view:
            limits = self._limits.with_stricter_caps(view.caps(self._user))
            time_s = view.time_of(now_s, uptime)
            used = view.used(self._user, int(time_s // SECONDS_PER_HOUR), caption, recording)
            questions = NO_QUESTIONS
            if questions_after is not None:
                questions = view.questions(
                    self._user,
                    after_row=questions_after,
                    since_s=int(time_s) - HISTORY_S,
                    limit=MAX_RECENT,
                )
        return BudgetStanding(limits, used, time_s, questions)
