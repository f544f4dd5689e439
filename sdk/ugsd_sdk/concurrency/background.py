"""Work on a background thread that callers need not wait for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

__all__ = ["BackgroundWork"]


class BackgroundWork:
    """Runs ``work`` on a new daemon thread. If no thread can be started, as during interpreter
    shutdown, the constructor runs it."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._done = Event()
        try:
            Thread(target=self._run, daemon=True, name=name).start()
        except RuntimeError:
            self._run()

    def wait(self, timeout_s: float) -> bool:
        """Return whether the work ended within ``timeout_s``; raise the error that it raised."""
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
