"""Work that nobody is to wait for longer than they like."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

__all__ = ["BackgroundWork"]


class BackgroundWork:
    """Runs ``work`` on a daemon thread of its own, which ends with the process. Where no thread can
    be started any more, as while the interpreter shuts down, it is done when this returns."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._done = Event()
        try:
            Thread(target=self._run, daemon=True, name=name).start()
        except RuntimeError:
            self._run()

    def wait(self, timeout_s: float) -> bool:
        """Whether the work was done within ``timeout_s``; raises the error that it ended with."""
        if not self._done.wait(timeout_s):
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()
