"""The calls of one captioner that have not ended, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, RLock

from ugsd_privacy.forks import call_in_children

from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.events import CaptionFailed, CaptionStarted
from ugsd_sdk.errors import CaptionerClosed

__all__ = ["OpenCalls"]


class OpenCalls:
    """Knows the calls that run, ends them, and allows none after :meth:`refuse`. Any thread may use
    it. A forked process begins with none, and is as closed as its parent was."""

    def __init__(self) -> None:
        self._is_closed = False
        self._reset()
        call_in_children(self._reset)

    def _reset(self) -> None:
        self._lock = RLock()
        """Entered as itself, since an interrupt within ``Condition.__enter__`` would lose it."""
        self._condition = Condition(self._lock)
        self._calls: set[Call] = set()

    @contextmanager
    def running(self, call: Call) -> Iterator[Call]:
        """Run ``call`` inside the block: report its start, and the error that it ends with.

        Raises :class:`CaptionerClosed` after :meth:`refuse`.
        """
        with self.including(call):
            try:
                call.notify(CaptionStarted())
                yield call
            except Exception as error:
                call.notify(CaptionFailed(type(error).__name__))
                raise

    @contextmanager
    def including(self, call: Call) -> Iterator[None]:
        """Run ``call``, whose parts are captions, inside the block, and report nothing of itself.

        Raises :class:`CaptionerClosed` after :meth:`refuse`.
        """
        with self._lock:
            self.require_open()
            self._calls.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)
                self._condition.notify_all()

    def require_open(self) -> None:
        """Raise :class:`CaptionerClosed` after :meth:`refuse`."""
        if self._is_closed:
            raise CaptionerClosed

    @property
    def is_closed(self) -> bool:
        """Whether no call is allowed any more."""
        return self._is_closed

    def refuse(self) -> None:
        """Allow no more calls. Those that run go on."""
        with self._lock:
            self._is_closed = True

    def end_all(self, error: Callable[[], CaptionerClosed] = CaptionerClosed) -> None:
        """Let all calls that run raise ``error`` at their next step."""
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel(error)

    def wait(self, timeout_s: float) -> bool:
        """Return whether no call runs any more within ``timeout_s``."""
        with self._lock:
            is_over = self._condition.wait_for(lambda: not self._calls, timeout_s)
        return is_over  # noqa: RET504  # a return within the block could lose the lock
