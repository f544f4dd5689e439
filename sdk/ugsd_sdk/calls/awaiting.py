"""Waiting in coroutines for work that runs on threads. Importing this imports asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from ugsd_sdk.calls.in_order import END_TIMEOUT_S, ClipJob

__all__ = ["ended_in_order", "result_of"]

_Clip = TypeVar("_Clip")
_Result = TypeVar("_Result")


async def result_of(job: Future[_Result], cancel: Callable[[], object]) -> _Result:
    """Return the result of ``job``, which may end on any thread.

    If the task is cancelled, ``cancel`` is called, and once the job has ended, at most
    :data:`END_TIMEOUT_S` later, the task's cancellation goes on. The job's result is then dropped.
    """
    ended = _EndOf(job)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        cancel()
        job.cancel()
        await ended.wait_through_cancellations(END_TIMEOUT_S)
        raise
    return job.result()


async def ended_in_order(
    clips: Iterable[_Clip] | AsyncIterable[_Clip],
    submit: Callable[[_Clip], ClipJob[_Clip, _Result]],
    look_ahead: int,
) -> AsyncGenerator[ClipJob[_Clip, _Result], None]:
    """Do what :func:`ugsd_sdk.calls.in_order.ended_in_order` does, for a coroutine. A task of its
    own reads ``clips``, so that no result waits for a slow source."""
    feed = _Feed(clips, submit, look_ahead)
    feeding = asyncio.create_task(feed.run())
    job: ClipJob[_Clip, _Result] | None = None
    try:
        while (job := await feed.next()) is not None:
            with suppress(Exception):  # whoever takes the job gets it
                await result_of(job.future, job.cancel)
            yield job
            feed.room.release()
        if feed.failure is not None:
            raise feed.failure
    finally:
        feeding.cancel()
        jobs = feed.rest()
        for one in jobs:
            one.cancel()
        ends_s = monotonic() + END_TIMEOUT_S
        for one in jobs:
            await _EndOf(one.future).wait_through_cancellations(max(ends_s - monotonic(), 0.0))
        await asyncio.wait([feeding])


class _Feed:
    """Reads clips and submits them, as long as there is room."""

    def __init__(
        self,
        clips: Iterable[Any] | AsyncIterable[Any],
        submit: Callable[[Any], ClipJob[Any, Any]],
        look_ahead: int,
    ) -> None:
        self.room = asyncio.Semaphore(look_ahead)
        """Released for each job that was taken and dealt with."""
        self.failure: Exception | None = None
        """The error of the clips, after which there are no more."""
        self._clips = clips
        self._submit = submit
        self._jobs: asyncio.Queue[ClipJob[Any, Any] | None] = asyncio.Queue()

    async def run(self) -> None:
        """Read all clips."""
        try:
            await self.room.acquire()
            async for clip in _each(self._clips):
                self._jobs.put_nowait(self._submit(clip))
                await self.room.acquire()
        except Exception as error:
            self.failure = error
        self._jobs.put_nowait(None)

    async def next(self) -> ClipJob[Any, Any] | None:
        """Return the next job; ``None`` after the last."""
        return await self._jobs.get()

    def rest(self) -> list[ClipJob[Any, Any]]:
        """Return the jobs that nobody has taken."""
        found = [self._jobs.get_nowait() for _ in range(self._jobs.qsize())]
        return [job for job in found if job is not None]


async def _each(clips: Iterable[_Clip] | AsyncIterable[_Clip]) -> AsyncIterator[_Clip]:
    if isinstance(clips, AsyncIterable):
        async for clip in clips:
            yield clip
    else:
        for clip in clips:
            yield clip


class _EndOf:
    """The end of a job, for a coroutine of the running loop."""

    def __init__(self, job: Future[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        job.add_done_callback(self._wake)

    def _wake(self, job: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._ended.set)

    async def wait(self) -> None:
        """Wait for the end."""
        await self._ended.wait()

    async def wait_through_cancellations(self, timeout_s: float) -> None:
        """Wait for at most ``timeout_s``, although the task may be cancelled once more."""
        ends_s = self._loop.time() + timeout_s
        while not self._ended.is_set():
            try:
                async with asyncio.timeout_at(ends_s):
                    await self._ended.wait()
            except TimeoutError:
                return
            except asyncio.CancelledError:  # the first one is raised in any case
                continue
