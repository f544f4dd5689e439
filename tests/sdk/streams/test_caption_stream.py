"""Streams over real sources: threads, pipes, files, live sources and event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from ugsd_sdk.calls.call_threads import CallThreads
from ugsd_sdk.errors import BadSamples, StreamSourceError, UnreadableAudio
from ugsd_sdk.speech.segmenter import SpeechStarted
from ugsd_sdk.streams.caption_stream import AsyncCaptionStream, CaptionStream
from ugsd_sdk.streams.chunks import AudioChunk
from ugsd_sdk.streams.events import FinalCaption, StreamEvent, StreamGap

from tests.doubles.streams import FakeCaptioner, PushedSource, in_chunks, silence, speech

CLIP = Path(ugsd_sdk.__file__).parent / "starter" / "clips" / "16a04Ab.opus"
UTTERANCE = np.concatenate([silence(0.5), speech(1.5), silence(1)])
PCM = (UTTERANCE * 2**15).astype("<i2").tobytes()
SOON_S = 10.0
THREADS = CallThreads(4, "test")


def spans(events: list[StreamEvent]) -> list[tuple[float, float]]:
    return [
        (round(event.start_s, 1), round(event.end_s, 1))
        for event in events
        if isinstance(event, FinalCaption)
    ]


def stream_of(source: object, sample_rate: float | None = 16_000) -> CaptionStream:
    return CaptionStream(source, sample_rate, FakeCaptioner().captions)  # type: ignore[arg-type]


async def collected(source: object, sample_rate: float | None = 16_000) -> list[StreamEvent]:
    captions = FakeCaptioner().captions
    stream = AsyncCaptionStream(source, sample_rate, captions, THREADS)  # type: ignore[arg-type]
    return [event async for event in stream]


async def asynchronous(samples: np.ndarray) -> AsyncIterator[np.ndarray]:
    for chunk in in_chunks(samples):
        await asyncio.sleep(0)
        yield chunk


class Pipe:
    """Both ends of a pipe, of which one thread writes and closes one."""

    def __init__(self, data: bytes) -> None:
        read_end, write_end = os.pipe()
        self.reader = os.fdopen(read_end, "rb")
        self._writer = threading.Thread(target=self._write, args=(write_end, data))
        self._writer.start()

    def _write(self, write_end: int, data: bytes) -> None:
        with os.fdopen(write_end, "wb") as pipe:
            for at in range(0, len(data), 333):
                pipe.write(data[at : at + 333])
                pipe.flush()

    def close(self) -> None:
        self._writer.join(SOON_S)
        self.reader.close()


@pytest.mark.parametrize(
    "source",
    [
        lambda: in_chunks(UTTERANCE),
        lambda: list(in_chunks(UTTERANCE)),
        lambda: UTTERANCE,
        lambda: PCM,
        lambda: (PCM[at : at + 640] for at in range(0, len(PCM), 640)),
        lambda: iter([AudioChunk(UTTERANCE, 16_000)]),
    ],
    ids=["generator", "list", "array", "bytes", "chunks of bytes", "audio chunk"],
)
def test_source_is_captioned(source: Callable[[], object]) -> None:
    assert spans(list(stream_of(source()))) == [(0.5, 2.0)]
    assert spans(asyncio.run(collected(source()))) == [(0.5, 2.0)]


def test_open_pipe_is_captioned() -> None:
    pipe = Pipe(PCM)
    try:
        assert spans(list(stream_of(pipe.reader))) == [(0.5, 2.0)]
    finally:
        pipe.close()


def test_file_is_decoded_as_it_goes() -> None:
    events = list(stream_of(CLIP, None))

    assert isinstance(events[0], SpeechStarted)
    assert spans(events) == spans(asyncio.run(collected(str(CLIP), None)))
    assert spans(events)


def test_asynchronous_source_is_captioned() -> None:
    assert spans(asyncio.run(collected(asynchronous(UTTERANCE)))) == [(0.5, 2.0)]


@pytest.mark.parametrize("source", [[], iter(()), b"", np.zeros(0, np.float32)])
def test_empty_source_has_no_events(source: object) -> None:
    assert list(stream_of(source)) == []


def failing(error: Exception) -> Iterator[np.ndarray]:
    yield from in_chunks(UTTERANCE[:20_000])
    raise error


async def failing_later(error: Exception) -> AsyncIterator[np.ndarray]:
    for chunk in failing(error):
        yield chunk


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError("unplugged"), StreamSourceError), (BadSamples("as it is"), BadSamples)],
)
def test_utterance_before_an_error_is_captioned(
    is_async: bool, error: Exception, expected: type[Exception]
) -> None:
    events: list[StreamEvent] = []

    async def collect() -> None:
        captions = FakeCaptioner().captions
        async for event in AsyncCaptionStream(failing_later(error), 16_000, captions, THREADS):
            events.append(event)

    def collect_all() -> None:
        for event in stream_of(failing(error)):
            events.append(event)

    with pytest.raises(expected) as raised:
        asyncio.run(collect()) if is_async else collect_all()
    assert spans(events) == [(0.5, 1.2)]
    assert error in {raised.value, raised.value.__cause__}


def test_chunk_of_nan_ends_the_stream_after_its_utterance() -> None:
    stream = stream_of([UTTERANCE[:20_000], np.full(100, np.nan)])

    assert spans([next(stream), next(stream)]) == [(0.5, 1.2)]
    with pytest.raises(BadSamples, match="NaN"):
        next(stream)


def blocked(released: threading.Event) -> Iterator[np.ndarray]:
    yield speech(0.1)
    released.wait(60)


def test_closing_ends_a_stream_whose_source_blocks() -> None:
    released = threading.Event()
    stream = stream_of(blocked(released))
    ended = threading.Event()

    def consume() -> None:
        assert list(stream) == []
        ended.set()

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.1)
    try:
        stream.close()
        assert ended.wait(SOON_S)
    finally:
        released.set()
        thread.join(SOON_S)


def test_leaving_the_loop_stops_reading() -> None:
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        while True:
            count += 1
            yield UTTERANCE

    for _event in stream_of(counted()):
        break
    gc.collect()
    time.sleep(0.1)
    seen = count
    time.sleep(0.2)

    assert count == seen
    assert count < 10


def test_slow_consumer_slows_the_source() -> None:
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for chunk in in_chunks(np.tile(UTTERANCE, 20)):
            count += 1
            yield chunk

    with stream_of(counted()) as stream:
        next(stream)
        time.sleep(0.2)
        assert count * 0.02 < 6


def test_live_source_drops_its_oldest_sound() -> None:
    source = PushedSource()
    stream = stream_of(source)
    events: list[StreamEvent] = []
    thread = threading.Thread(target=lambda: events.extend(stream))
    thread.start()
    assert source.is_started.wait(SOON_S)
    source.deliver(AudioChunk(speech(1), 16_000, 0.0))
    while not events:
        time.sleep(0.01)
    stream._queue._changed.acquire()  # the consumer is kept waiting
    try:
        for second in range(1, 100):
            source.deliver(AudioChunk(speech(1), 16_000, float(second)))
    finally:
        stream._queue._changed.release()
    source.end(None)
    thread.join(SOON_S)

    assert source.is_stopped
    [gap] = [event for event in events if isinstance(event, StreamGap)]
    assert gap.duration_s >= 60


def test_live_source_that_fails_is_reported() -> None:
    source = PushedSource()

    def fail() -> None:
        source.is_started.wait(SOON_S)
        source.end(OSError("unplugged"))

    threading.Thread(target=fail).start()
    with pytest.raises(StreamSourceError):
        list(stream_of(source))


@pytest.mark.parametrize(
    ("source", "rate", "error", "message"),
    [
        (7, 16_000, BadSamples, "not int"),
        (CLIP, 16_000, BadSamples, "leave it out"),
        ("missing.wav", None, UnreadableAudio, "missing"),
        ([speech(1)], None, BadSamples, "sample_rate"),
        (open, 16_000, BadSamples, "not builtin"),
    ],
)
def test_wrong_source_is_named(
    source: object, rate: float | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        list(stream_of(source, rate))


def test_text_file_and_asynchronous_source_are_named(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("text")
    with file.open(encoding="utf-8") as text, pytest.raises(BadSamples, match="'rb'"):
        list(stream_of(text))
    with pytest.raises(BadSamples, match="astream"):
        list(stream_of(asynchronous(UTTERANCE)))


def test_cancelled_task_ends_the_stream() -> None:
    async def waits() -> AsyncIterator[np.ndarray]:
        yield UTTERANCE
        await asyncio.sleep(60)
        yield UTTERANCE

    async def consume(events: list[StreamEvent]) -> None:
        async for event in AsyncCaptionStream(waits(), 16_000, FakeCaptioner().captions, THREADS):
            events.append(event)

    async def main() -> list[StreamEvent]:
        events: list[StreamEvent] = []
        task = asyncio.create_task(consume(events))
        while not spans(events):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return events

    assert spans(asyncio.run(asyncio.wait_for(main(), SOON_S))) == [(0.5, 2.0)]


@pytest.mark.parametrize("is_live", [False, True])
def test_asynchronous_stream_is_closed_by_another_task(is_live: bool) -> None:
    async def waits() -> AsyncIterator[np.ndarray]:
        await asyncio.sleep(60)
        yield UTTERANCE

    async def main() -> None:
        source = PushedSource() if is_live else waits()
        async with AsyncCaptionStream(source, 16_000, FakeCaptioner().captions, THREADS) as stream:
            task = asyncio.create_task(anext(stream, None))
            await asyncio.sleep(0.05)
            await stream.aclose()
            assert await task is None
            assert [event async for event in stream] == []

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_loop_is_free_while_captions_are_made() -> None:
    captioner = FakeCaptioner()

    async def main() -> int:
        async for _event in AsyncCaptionStream(
            asynchronous(UTTERANCE), 16_000, captioner.captions, THREADS
        ):
            pass
        return threading.get_ident()

    assert asyncio.run(main()) not in captioner.threads
