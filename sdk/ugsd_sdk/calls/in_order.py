"""Work on each of many clips, on threads, with the results in the order of the clips.

At most ``look_ahead`` clips are read before the first of their results is taken: whoever takes the
results sets the pace, and no more clips than that are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from ugsd_sdk.calls.call import Call

__all__ = ["END_TIMEOUT_S", "ClipJob", "ended_in_order"]

_Clip = TypeVar("_Clip")
_Result = TypeVar("_Result")

END_TIMEOUT_S = 3.0
"""How long a caller that gives up waits for calls to end. They end far sooner, unless a drafter of
the application does not look whether its call has."""


@dataclass(frozen=True)
class ClipJob(Generic[_Clip, _Result]):
    """One clip, and the call that works on it."""

    clip: _Clip
    call: Call
    future: Future[_Result]

    def cancel(self) -> None:
        """End the call, or do not begin it."""
        self.call.cancel()
        self.future.cancel()


def ended_in_order(
    clips: Iterable[_Clip],
    submit: Callable[[_Clip], ClipJob[_Clip, _Result]],
    look_ahead: int,
) -> Iterator[ClipJob[_Clip, _Result]]:
    """Yield the job of each clip once it has ended, in order. An error of ``clips`` is raised after
    those of the clips before it. Closing the iterator ends all other jobs."""
    source, failure, is_over = iter(clips), None, False
    jobs: deque[ClipJob[_Clip, _Result]] = deque()
    try:
        while True:
            while not is_over and _has_room(jobs, look_ahead):
                try:
                    jobs.append(submit(next(source)))
                except StopIteration:
                    is_over = True
                except Exception as error:
                    failure, is_over = error, True
            if not jobs:
                break
            wait([jobs[0].future])
            yield jobs.popleft()
        if failure is not None:
            raise failure
    finally:
        for job in jobs:
            job.cancel()
        wait([job.future for job in jobs], END_TIMEOUT_S)


def _has_room(jobs: deque[ClipJob[_Clip, _Result]], look_ahead: int) -> bool:
    """Return whether to read one more clip before a result is taken. If one is there already, it
    does not wait for a slow source."""
    return len(jobs) < look_ahead and not (jobs and jobs[0].future.done())
