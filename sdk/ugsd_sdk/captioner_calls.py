"""The calls of a captioner besides a plain caption: many clips, coroutines, and closing."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from contextlib import aclosing
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack
from weakref import WeakSet

from ugsd_sdk.arguments import require_callable
from ugsd_sdk.audio.clip_sources import is_encoded
from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.call_threads import CallThreads
from ugsd_sdk.calls.core_slots import usable_cores
from ugsd_sdk.calls.events import CallEvent, CaptionFinished, EventListener
from ugsd_sdk.calls.in_order import ClipJob, ended_in_order
from ugsd_sdk.calls.open_calls import OpenCalls
from ugsd_sdk.caption import Caption, escaped_path
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.caption.result import CaptionResult
from ugsd_sdk.captioner_keywords import (
    CaptionKeywords,
    TimelineKeywords,
    check_keywords,
    check_user,
)
from ugsd_sdk.errors import AudioError, CaptionTimeout, ConfigError, WrongType

if TYPE_CHECKING:
    from ugsd_sdk.audio.samples import Clip
    from ugsd_sdk.streams.caption_stream import AsyncCaptionStream, CaptionStream
    from ugsd_sdk.timelines.timeline import Timeline

__all__ = ["CaptionerCalls", "finished_event"]

_Result = TypeVar("_Result")

_MAX_WORKERS = 64
_ASYNC_THREADS = 16
"""Captions of coroutines that are made at once; others wait for them."""
_CLIPS_PER_WORKER = 2
"""Clips that are read for each thread: one that it works on, and one that it begins next."""


class CaptionerCalls(ABC):
    """What a :class:`~ugsd_sdk.Captioner` makes of its plain captions."""

    def __init__(self, on_event: Callable[[CallEvent], object] | None) -> None:
        require_callable("on_event", on_event)
        self._calls = OpenCalls()
        self._listener = None if on_event is None else EventListener(on_event)
        self._streams: WeakSet[CaptionStream | AsyncCaptionStream] = WeakSet()
        """Those that may still be open."""
        self._threads = CallThreads(_ASYNC_THREADS, "ugsd-caption")

    def _new_call(self, timeout_s: float | None) -> Call:
        """Return a call that begins now. Raises :class:`WrongType`, :class:`ConfigError` and
        :class:`CaptionerClosed`."""
        self._calls.require_open()
        return Call(timeout_s, self._listener)

    @abstractmethod
    def _caption(
        self,
        call: Call,
        clip: Clip,
        sample_rate: float | None,
        user: str | None,
        options: CaptionOptions,
    ) -> Caption:
        """Make a caption on this thread."""

    @abstractmethod
    def _timeline(
        self, call: Call, recording: Clip, sample_rate: float | None, **options: Any
    ) -> Timeline:
        """Make a timeline on this thread."""

    @abstractmethod
    def load(self) -> None: ...

    @abstractmethod
    def prewarm(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    # -- many clips

    def caption_many(
        self,
        clips: Iterable[Clip],
        sample_rate: float | None = None,
        *,
        workers: int | None = None,
        on_progress: Callable[[int, int | None], object] | None = None,
        **options: Unpack[CaptionKeywords],
    ) -> Iterator[CaptionResult]:
        """Caption clips on ``workers`` threads, and yield their results in the order of the clips.

        ``clips`` may be any iterable; with a generator, at most two clips for each worker are read
        before their results are taken. ``workers`` is 1 to 64, by default one for each core, at
        most four. Before each result ``on_progress`` is called on this thread with the number of
        results and that of all clips, which is ``None`` if ``clips`` has no length. All other
        arguments are those of :meth:`caption`; ``timeout_s`` limits each clip alone, from the
        moment when a thread begins with it.

        An :class:`AudioError` or a :class:`CaptionTimeout` of one clip becomes its result. Any
        other error is raised, and ends the iteration. Closing the iterator, or leaving a ``for``
        loop and dropping it, cancels the clips that are under way, and waits until they have ended.
        """
        batch = _Batch(self, clips, sample_rate, workers, on_progress, options)
        return batch.results(clips)

    def acaption_many(
        self,
        clips: Iterable[Clip] | AsyncIterable[Clip],
        sample_rate: float | None = None,
        *,
        workers: int | None = None,
        on_progress: Callable[[int, int | None], object] | None = None,
        **options: Unpack[CaptionKeywords],
    ) -> AsyncIterator[CaptionResult]:
        """Do what :meth:`caption_many` does, for ``async for``. ``clips`` may be an asynchronous
        iterable as well; any other one is read on the event loop's thread, and should not block.

        To end early, close the iterator, for example by ``contextlib.aclosing``; cancelling the
        task that iterates does the same.
        """
        batch = _Batch(self, clips, sample_rate, workers, on_progress, options)
        return batch.async_results(clips)

    # -- coroutines

    async def acaption(
        self,
        clip: Clip,
        sample_rate: float | None = None,
        **options: Unpack[CaptionKeywords],
    ) -> Caption:
        """Do what :meth:`caption` does, on a thread of the captioner, of which there are at most
        16. ``timeout_s`` includes the wait for one.

        Cancelling the task, as ``asyncio.timeout`` does, cancels the caption. The task ends when
        the caption has ended, a fraction of a second later: see :class:`CaptionCancelled`.
        """
        user, given, timeout_s = _checked(options)
        call, context = self._new_call(timeout_s), copy_context()
        return await _awaited(
            self._threads,
            lambda: context.run(self._caption, call, clip, sample_rate, user, given),
            call.cancel,
        )

    async def atimeline(
        self,
        recording: Clip,
        sample_rate: float | None = None,
        **options: Unpack[TimelineKeywords],
    ) -> Timeline:
        """Do what :meth:`timeline` does, on a thread of the captioner. Cancelling the task ends it
        a fraction of a second later; its timeline checkpoint stays."""
        check_keywords(options, TimelineKeywords.__annotations__)
        call, context = self._new_call(options.pop("timeout_s", None)), copy_context()
        return await _awaited(
            self._threads,
            lambda: context.run(self._timeline, call, recording, sample_rate, **options),
            call.cancel,
        )

    async def aload(self) -> None:
        """Do what :meth:`load` does, on a thread. Cancelling the task does not end the loading."""
        await _awaited(self._threads, self.load)

    async def aprewarm(self) -> None:
        """Do what :meth:`prewarm` does, on a thread. Cancelling the task does not end it."""
        await _awaited(self._threads, self.prewarm)

    async def aclose(self) -> None:
        """Do what :meth:`close` does, on a thread. Cancelling the task does not keep it open."""
        await _awaited(CallThreads(1, "ugsd-aclose"), self.close)

    async def __aenter__(self) -> Self:
        await self.aload()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def finished_event(caption: Caption) -> CaptionFinished:
    """Return the event that reports ``caption``."""
    reason = caption.unverified_reason
    return CaptionFinished(
        caption.latency_ms.total, caption.usage.num_blocks, None if reason is None else reason.code
    )


class _Batch:
    """Many clips, with threads of their own."""

    def __init__(
        self,
        captioner: CaptionerCalls,
        clips: object,
        sample_rate: float | None,
        workers: int | None,
        on_progress: Callable[[int, int | None], object] | None,
        keywords: CaptionKeywords,
    ) -> None:
        _check_clips(clips)
        require_callable("on_progress", on_progress)
        self._workers = _num_workers(workers)
        self._user, self._options, self._timeout_s = _checked(keywords)
        captioner._new_call(self._timeout_s)  # raises what each call would
        self._captioner = captioner
        self._sample_rate = sample_rate
        self._on_progress = on_progress
        self._total = len(clips) if isinstance(clips, Sized) else None
        self._done = 0
        self._threads = CallThreads(self._workers, "ugsd-captions")

    def results(self, clips: Iterable[Clip]) -> Iterator[CaptionResult]:
        for job in ended_in_order(clips, self._submit, _CLIPS_PER_WORKER * self._workers):
            yield self._result(job)

    async def async_results(
        self, clips: Iterable[Clip] | AsyncIterable[Clip]
    ) -> AsyncIterator[CaptionResult]:
        from ugsd_sdk.calls import awaiting  # noqa: PLC0415  # imports asyncio

        look_ahead = _CLIPS_PER_WORKER * self._workers
        async with aclosing(awaiting.ended_in_order(clips, self._submit, look_ahead)) as jobs:
            async for job in jobs:
                yield self._result(job)

    def _submit(self, clip: Clip) -> ClipJob[Clip, Caption]:
        call = self._captioner._new_call(self._timeout_s)
        context, rate = copy_context(), self._sample_rate

        def work() -> Caption:
            caption = self._captioner._caption
            return context.run(caption, call.restart(), clip, rate, self._user, self._options)

        return ClipJob(clip, call, self._threads.submit(work))

    def _result(self, job: ClipJob[Clip, Caption]) -> CaptionResult:
        caption = error = None
        try:
            caption = job.future.result()
        except (AudioError, CaptionTimeout) as failure:
            error = failure
        index, self._done = self._done, self._done + 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
        return CaptionResult(index, _name_of(job.clip), caption, error)


async def _awaited(
    threads: CallThreads,
    work: Callable[[], _Result],
    cancel: Callable[[], object] = lambda: None,
) -> _Result:
    from ugsd_sdk.calls.awaiting import result_of  # noqa: PLC0415  # imports asyncio

    job: Future[_Result] = threads.submit(work)
    return await result_of(job, cancel)


def _checked(
    given: CaptionKeywords,
) -> tuple[str | None, CaptionOptions, float | None]:
    """Return the user, the options and the time limit. Raises what :meth:`Captioner.caption`
    does for them."""
    check_keywords(given, CaptionKeywords.__annotations__)
    check_user(given.get("user"))
    options = CaptionOptions.checked(given.get("profile"), given.get("length"), given.get("seed"))
    return given.get("user"), options, given.get("timeout_s")


def _check_clips(clips: Any) -> None:
    if is_encoded(clips) or hasattr(clips, "__array__"):
        raise WrongType(
            f"clips must be several clips, such as a list, not one {type(clips).__name__}: use "
            "caption() for one clip"
        )
    if not isinstance(clips, (Iterable, AsyncIterable)):
        raise WrongType(f"clips must be an iterable of clips, not {type(clips).__name__}")


def _num_workers(workers: int | None) -> int:
    if workers is None:
        return min(usable_cores(), 4)
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise WrongType(f"workers must be a whole number, not {type(workers).__name__}")
    if not 1 <= workers <= _MAX_WORKERS:
        raise ConfigError(f"workers must be 1 to {_MAX_WORKERS}, not {workers}")
    return workers


def _name_of(clip: Any) -> str | None:
    name = clip if isinstance(clip, (str, os.PathLike)) else getattr(clip, "name", None)
    return escaped_path(name) if isinstance(name, (str, os.PathLike)) else None
