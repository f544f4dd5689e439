"""The threads on which a captioner makes captions that no thread of the application waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, TypeVar

from ugsd_privacy.forks import call_in_children

__all__ = ["CallThreads"]

_Result = TypeVar("_Result")

_IDLE_S = 5.0
"""How long a thread without work stays, since starting one takes time."""


class CallThreads:
    """At most ``max_threads`` daemon threads, which begin when there is work and end without it.

    They are not those of ``concurrent.futures``: for these an interpreter would wait before it
    ends, and a forked process, which has none of them, for ever. Here it begins without any.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._reset()
        call_in_children(self._reset)

    def _reset(self) -> None:
        self._condition = Condition()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._num_threads = self._num_idle = 0

    def submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Run ``work`` as soon as a thread is free. Cancelling the future works until then."""
        job: Future[_Result] = Future()
        with self._condition:
            self._jobs.append((job, work))
            is_needed = len(self._jobs) > self._num_idle and self._num_threads < self._max_threads
            self._num_threads += is_needed
            self._condition.notify()
        if is_needed:
            try:
                Thread(target=self._run, daemon=True, name=self._name).start()
            except RuntimeError:  # none can be started, as during interpreter shutdown
                self._run(idle_s=0.0)
        return job

    def _run(self, idle_s: float = _IDLE_S) -> None:
        while (found := self._next(idle_s)) is not None:
            job, work = found
            if job.set_running_or_notify_cancel():
                try:
                    job.set_result(work())
                except BaseException as error:
                    job.set_exception(error)
            del job, work, found  # an idle thread keeps no caption alive

    def _next(self, idle_s: float) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._condition:
            self._num_idle += 1
            self._condition.wait_for(lambda: self._jobs, idle_s)
            self._num_idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._num_threads -= 1
            return None
