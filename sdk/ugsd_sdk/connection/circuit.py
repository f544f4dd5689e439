"""Failures in a row of the connections to one verifier, and the delay before the next attempt.

All connections of a captioner to its verifier share one :class:`Circuit`: a verifier that is gone
costs a few captions their deadline, and not a few captions of each user.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Lock
from time import monotonic

from ugsd_privacy.forks import call_in_children

__all__ = ["FAILURES_TO_OPEN", "Attempt", "Circuit"]

FAILURES_TO_OPEN = 3
"""Failures in a row that open the circuit."""
_FIRST_BACK_OFF_S, _LAST_BACK_OFF_S = 0.5, 300.0
"""The longest delay after the first failure, and after many."""
_MOST_COUNTED = 32


class Attempt:
    """One attempt to connect, which :meth:`Circuit.begin` allowed."""

    def __init__(self, circuit: Circuit, *, is_trial: bool) -> None:
        self._circuit = circuit
        self.is_trial = is_trial
        """Whether the circuit was open, so that no other attempt runs."""

    def end(self) -> None:
        """End the attempt. May be called again."""
        self._circuit._end(self)


class Circuit:
    """Counts failures in a row, draws delays, and allows one trial at a time once it is open.

    Any thread may use it. A forked process begins with none.
    """

    def __init__(
        self,
        *,
        first_back_off_s: float = _FIRST_BACK_OFF_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``jitter`` draws the random part of a delay, from 0 to below 1."""
        self._first_back_off_s = first_back_off_s
        self._jitter = jitter
        self._begin()
        call_in_children(self._begin)

    def _begin(self) -> None:
        self._lock = Lock()
        self._failures = 0
        self._trial: Attempt | None = None
        self.failure: Exception | None = None
        """The last failure."""
        self.retry_at_s = 0.0
        """When the next attempt may begin, on the monotonic clock."""

    @property
    def is_open(self) -> bool:
        """Whether so many attempts failed in a row that captions do not wait for the next."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def opens_next(self) -> bool:
        """Whether the next failure opens the circuit, or finds it open."""
        return self._failures + 1 >= FAILURES_TO_OPEN

    def count(self) -> None:
        """Count a failure that delays nothing."""
        with self._lock:
            self._failures = min(self._failures + 1, _MOST_COUNTED)

    def fail(self, error: Exception) -> None:
        """Count a failure and draw the next delay. It is anything up to its bound; with an open
        circuit at least half of that, so that no trial follows at once."""
        with self._lock:
            self.failure = error
            bound_s = min(self._first_back_off_s * 2**self._failures, _LAST_BACK_OFF_S)
            self._failures = min(self._failures + 1, _MOST_COUNTED)
            share = self._jitter()
            if self.is_open:
                share = (1 + share) / 2
            self.retry_at_s = monotonic() + share * bound_s

    def succeed(self) -> None:
        """End a row of failures, and the delay after them."""
        with self._lock:
            self._failures, self.retry_at_s = 0, 0.0

    def begin(self) -> Attempt | None:
        """Return an attempt, or ``None`` during a delay, and while a trial runs. The circuit is
        open or not at one moment for all that follows from it."""
        with self._lock:
            if monotonic() < self.retry_at_s or (self.is_open and self._trial is not None):
                return None
            attempt = Attempt(self, is_trial=self.is_open)
            if attempt.is_trial:
                self._trial = attempt
            return attempt

    def _end(self, attempt: Attempt) -> None:
        with self._lock:
            if self._trial is attempt:
                self._trial = None
