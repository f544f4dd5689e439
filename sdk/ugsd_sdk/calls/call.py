"""The time limit and the cancellation of one call for a caption.

A call runs on one thread, which asks :meth:`Call.check` between all steps of its work, and which
waits for anything only for as long as :meth:`Call.slices` says. So any other thread can end it
within a fraction of a second, and no thread is ever stopped by force::

    RUNNING ── cancel(), or the time limit passes ──> check() raises a CallEnded from now on
       └────── commit() ──> COMMITTED: nothing ends the call any more, and its caption is returned

:meth:`Call.commit` comes before the first lasting effect of a caption besides the egress, which is
the change of a speaker profile. What was charged and sent stays recorded in any case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from ugsd_privacy.slots import Slots

from ugsd_sdk.errors import CallEnded, CaptionCancelled, CaptionTimeout, ConfigError, WrongType

if TYPE_CHECKING:
    from ugsd_sdk.calls.events import CallEvent

__all__ = ["WAIT_SLICE_S", "Call", "checked", "checked_seconds", "current_call"]

_Item = TypeVar("_Item")

WAIT_SLICE_S = 0.025
"""The longest wait that does not look whether its call has ended."""


class Call:
    """One call for a caption. Any thread may call :meth:`cancel`; the others belong to the thread
    that makes the caption."""

    def __init__(
        self,
        timeout_s: float | None = None,
        on_event: Callable[[CallEvent], None] | None = None,
    ) -> None:
        """``timeout_s`` is the time limit from now on, above 0, ``None`` for none. ``on_event``
        gets the call's events.

        Raises :class:`WrongType` for a limit that is no number, and :class:`ConfigError` for one
        that is not above 0.
        """
        if timeout_s is not None:
            timeout_s = checked_seconds(timeout_s)
            if timeout_s <= 0:
                raise ConfigError(
                    f"timeout_s must be above 0 seconds, or None for no limit, not {timeout_s:g}"
                )
        self.timeout_s = timeout_s
        self._ends_s = math.inf if timeout_s is None else monotonic() + timeout_s
        self._on_event = on_event
        self._lock = RLock()
        self._ended_by: Callable[[], CallEnded] | None = None
        """Creates the error of a call that was ended by another thread."""
        self._is_committed = False
        self._whole: Call | None = None
        """The call of which this one is a part."""

    def part(self) -> Call:
        """Return a call for one of several captions. It ends when this call does, at the latest,
        reports to the same listener, and is committed by itself."""
        part = Call(on_event=self._on_event)
        part.timeout_s, part._ends_s, part._whole = self.timeout_s, self._ends_s, self
        return part

    @property
    def remaining_s(self) -> float:
        """Seconds until the time limit, at least 0; infinite without one."""
        return math.inf if self._is_committed else max(self._ends_s - monotonic(), 0.0)

    def cancel(self, error: Callable[[], CallEnded] = CaptionCancelled) -> bool:
        """End the call: :meth:`check` raises ``error()`` from now on. Return whether it does, which
        is not so after :meth:`commit`. Only the first ``error`` counts."""
        with self._lock:
            if not self._is_committed and self._ended_by is None:
                self._ended_by = error
            return not self._is_committed

    def restart(self) -> Call:
        """Begin the time limit now, for a call that waited for a thread; return the call."""
        if self.timeout_s is not None:
            self._ends_s = monotonic() + self.timeout_s
        return self

    def check(self) -> None:
        """Raise :class:`CaptionCancelled`, or another :class:`CallEnded` that :meth:`cancel` was
        given, or :class:`CaptionTimeout`, if the call has ended."""
        if self._is_committed:
            return
        if self._ended_by is not None:
            raise self._ended_by()
        if self._whole is not None:
            self._whole.check()
        if monotonic() >= self._ends_s:
            raise CaptionTimeout(self.timeout_s)

    def commit(self) -> None:
        """Raise as :meth:`check` does, or let nothing end the call any more."""
        with self._lock:
            self.check()
            self._is_committed = True

    def slices(self, timeout_s: float) -> Iterator[float]:
        """Yield the timeouts of short waits that together take ``timeout_s``, at least one of them.
        Raises as :meth:`check` does, before and between them."""
        ends_s = monotonic() + timeout_s
        while True:
            self.check()
            remaining_s = min(ends_s - monotonic(), self.remaining_s)
            yield max(min(remaining_s, WAIT_SLICE_S), 0.0)
            if monotonic() >= ends_s:
                return

    @contextmanager
    def holding(self, slots: Slots, holder: Lock) -> Iterator[None]:
        """Hold one of ``slots`` in the name of ``holder`` inside the block; raises as
        :meth:`check` does before and while waiting for it."""
        self.check()
        with slots.held(holder, self.slices(math.inf)):
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let :func:`current_call` return this call, on this thread and inside the block."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def notify(self, event: CallEvent) -> None:
        """Report an event on this thread."""
        if self._on_event is not None:
            self._on_event(event)


_current: ContextVar[Call | None] = ContextVar("ugsd_call", default=None)


def current_call() -> Call:
    """Return the call that this thread makes, or one that never ends if it makes none.

    For long work that is not given its call, such as reading audio, and for an application's own
    drafter, detector or transport: ``current_call().check()`` between the steps of its work.
    """
    return _current.get() or Call()


def checked(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield ``items`` for as long as the current call lasts: raises a :class:`CallEnded` before the
    next one if it has ended."""
    call = current_call()
    for item in items:
        call.check()
        yield item


def checked_seconds(timeout_s: float) -> float:
    """Return the argument ``timeout_s``. Raises :class:`WrongType` and :class:`ConfigError` for
    what is not a number."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)):
        raise WrongType(f"timeout_s must be a number of seconds, not {type(timeout_s).__name__}")
    try:
        limit_s = float(timeout_s)
    except OverflowError:
        limit_s = math.inf if timeout_s > 0 else -math.inf
    if math.isnan(limit_s):
        raise ConfigError("timeout_s must be a number of seconds, or None for no limit, not NaN")
    return limit_s
