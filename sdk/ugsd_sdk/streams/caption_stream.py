"""Streams of captions: an iterator of events, and its asynchronous twin.

A source that can wait is read on a thread of its own, at most :data:`_AHEAD_S` seconds ahead, so
that closing ends a stream whose source blocks. Captions are made on the thread that asks for
events; a consumer that is slow slows the source down. A live source cannot wait: beyond
:data:`_LIVE_S` seconds its oldest sound is dropped and reported as a gap.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from contextvars import copy_context
from types import TracebackType
from typing import Self, TypeVar

from ugsd_privacy.forks import call_in_children, keep_for_good

from ugsd_sdk.calls.awaiting import result_of
from ugsd_sdk.calls.call_threads import CallThreads
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.errors import AudioError, CaptionCancelled, StreamSourceError
from ugsd_sdk.streams.chunk_queue import ChunkQueue
from ugsd_sdk.streams.chunks import AudioChunk, MonoChunk, mono_chunk
from ugsd_sdk.streams.events import StreamEvent
from ugsd_sdk.streams.sources import LiveSource, StreamSource, fill, source_error
from ugsd_sdk.streams.utterance_captions import UtteranceCaptions

__all__ = ["AsyncCaptionStream", "CaptionStream"]

_Result = TypeVar("_Result")

_AHEAD_S = 2.0
_LIVE_S = 30.0


class CaptionStream(Iterator[StreamEvent]):
    """The events of a stream, in order. One thread iterates; any may :meth:`close` it.

    Nothing is read before the first event is asked for. A stream that nobody refers to any more,
    as after a ``break``, is closed. A forked process has no stream: iterating over its copy raises
    :class:`StreamSourceError`, and the parent's stream goes on.
    """

    def __init__(
        self,
        source: StreamSource,
        sample_rate: float | None,
        captions: Callable[[], UtteranceCaptions],
    ) -> None:
        """``captions`` is called once, with the first event."""
        self._queue = queue = _queue_for(source)
        self._close = weakref.finalize(self, queue.close)
        self._events = _events(queue, source, sample_rate, captions)
        call_in_children(self._keep_in_child)

    def _keep_in_child(self) -> None:
        keep_for_good(self._events)  # its end would stop the parent's source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> StreamEvent:
        """Return the next event; wait for it.

        Raises an :class:`AudioError` for the source, such as :class:`StreamSourceError` if it
        failed, once what was spoken before is captioned; and what a caption raises.
        """
        _require_own(self._queue)
        return next(self._events)

    def close(self) -> None:
        """End the stream: iteration stops, and what is being spoken is not captioned. Does not wait
        for a source that blocks. May be repeated."""
        self._close()


class AsyncCaptionStream(AsyncIterator[StreamEvent]):
    """The events of a stream, for ``async for``. Captions are made on a worker thread.

    An asynchronous source is read while no caption is made, on the loop that asks for events. A
    cancelled task ends the stream, as :meth:`aclose` does, and so does dropping the stream. A
    forked process has no stream, as with :class:`CaptionStream`.
    """

    def __init__(
        self,
        source: StreamSource,
        sample_rate: float | None,
        captions: Callable[[], UtteranceCaptions],
        threads: CallThreads,
    ) -> None:
        """``captions`` is called once, with the first event. All work but that of an asynchronous
        source is done on ``threads``."""
        self._queue = queue = _queue_for(source)
        weakref.finalize(self, queue.close)
        self._events = _async_events(queue, source, sample_rate, captions, threads)
        self._next: asyncio.Future[StreamEvent] | None = None
        self._is_closed = False
        call_in_children(self._keep_in_child)

    def _keep_in_child(self) -> None:
        keep_for_good(self._events)
        self._next = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> StreamEvent:
        """Return the next event; raises as :meth:`CaptionStream.__next__` does."""
        if self._is_closed:
            raise StopAsyncIteration
        _require_own(self._queue)
        self._next = asyncio.ensure_future(anext(self._events))
        try:
            return await self._next
        except asyncio.CancelledError:
            if self._is_closed:
                raise StopAsyncIteration from None
            self._queue.close()
            raise
        finally:
            self._next = None

    async def aclose(self) -> None:
        """End the stream; may be called from another task, and repeated."""
        self._is_closed = True
        self._queue.close()
        if self._queue.is_inherited:
            return
        waiting = self._next
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await waiting
        await self._events.aclose()


def _queue_for(source: object) -> ChunkQueue:
    return ChunkQueue(_LIVE_S if isinstance(source, LiveSource) else _AHEAD_S)


def _require_own(queue: ChunkQueue) -> None:
    if queue.is_inherited:
        raise StreamSourceError(
            "the stream belongs to the process that this one was forked from: begin a new one here"
        )


def _start(queue: ChunkQueue, source: object, sample_rate: float | None) -> Callable[[], None]:
    """Begin to fill ``queue``. Return what stops a live source."""
    if not isinstance(source, LiveSource):
        BackgroundWork(lambda: fill(queue, source, sample_rate), "ugsd-stream-source")
        return lambda: None

    def deliver(chunk: AudioChunk) -> None:
        try:
            queue.put_newest(mono_chunk(chunk, sample_rate))
        except AudioError as error:
            queue.end(error)

    def end(error: Exception | None) -> None:
        queue.end(None if error is None else source_error(error))

    return source.start(deliver, end)


def _events(
    queue: ChunkQueue,
    source: object,
    sample_rate: float | None,
    made: Callable[[], UtteranceCaptions],
) -> Iterator[StreamEvent]:
    captions = made()
    queue.on_close = captions.cancel
    stop = _start(queue, source, sample_rate)
    try:
        while (chunks := queue.take()) is not None:
            for chunk in chunks:
                yield from _until_closed(queue, captions.push(chunk))
        yield from _until_closed(queue, captions.finish())
        if queue.error is not None and not queue.is_closed:
            raise queue.error
    finally:
        stop()
        queue.close()


def _until_closed(queue: ChunkQueue, events: Iterator[StreamEvent]) -> Iterator[StreamEvent]:
    while not queue.is_closed:
        try:
            event = next(events, None)
        except CaptionCancelled:
            if queue.is_closed:
                return
            raise
        if event is None or queue.is_closed:
            return
        yield event


async def _async_events(
    queue: ChunkQueue,
    source: object,
    sample_rate: float | None,
    made: Callable[[], UtteranceCaptions],
    threads: CallThreads,
) -> AsyncGenerator[StreamEvent]:
    captions = await _elsewhere(queue, threads, made)
    queue.on_close = captions.cancel
    if isinstance(source, AsyncIterable):
        chunks = _pulled(queue, source, sample_rate)
    else:
        chunks = _queued(queue, source, sample_rate)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                async for event in _made_elsewhere(queue, threads, captions.push(chunk)):
                    yield event
        async for event in _made_elsewhere(queue, threads, captions.finish()):
            yield event
        if queue.error is not None and not queue.is_closed:
            raise queue.error
    finally:
        queue.close()


async def _made_elsewhere(
    queue: ChunkQueue, threads: CallThreads, events: Iterator[StreamEvent]
) -> AsyncIterator[StreamEvent]:
    remaining = _until_closed(queue, events)
    while (event := await _elsewhere(queue, threads, lambda: next(remaining, None))) is not None:
        yield event


async def _elsewhere(
    queue: ChunkQueue, threads: CallThreads, work: Callable[[], _Result]
) -> _Result:
    """Return the result of ``work`` on one of ``threads``; a cancelled task closes ``queue``."""
    context = copy_context()
    return await result_of(threads.submit(lambda: context.run(work)), queue.close)


async def _pulled(
    queue: ChunkQueue, source: AsyncIterable[object], sample_rate: float | None
) -> AsyncGenerator[MonoChunk]:
    try:
        async for item in source:
            yield mono_chunk(item, sample_rate)
    except Exception as error:
        queue.end(source_error(error))


async def _queued(
    queue: ChunkQueue, source: object, sample_rate: float | None
) -> AsyncGenerator[MonoChunk]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop was closed before the source ended
            loop.call_soon_threadsafe(changed.set)

    queue.on_change = wake
    stop = _start(queue, source, sample_rate)
    try:
        while True:
            changed.clear()
            chunks = queue.take(wait=False)
            if chunks is None:
                return
            for chunk in chunks:
                yield chunk
            if not chunks:
                await changed.wait()
    finally:
        stop()
