"""What a stream reads: files, pipes, iterators and live sources."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from time import sleep
from typing import Protocol, TypeAlias, runtime_checkable

from ugsd_sdk.audio.clip_files import opened_segments
from ugsd_sdk.audio.clip_sources import ReadableFile
from ugsd_sdk.errors import BadSamples, StreamSourceError, UgsdError
from ugsd_sdk.streams.chunk_queue import ChunkQueue
from ugsd_sdk.streams.chunks import AudioChunk, mono_chunk

__all__ = ["LiveSource", "StreamSource", "chunks_of", "fill", "source_error"]

_READ_BYTES = 3_200
"""At most 0.1 s at 16 kHz, so that a pipe's sound is not waited for long."""
_NO_DATA_YET_S = 0.01


@runtime_checkable
class LiveSource(Protocol):
    """A source that cannot wait, such as a microphone: sound that nobody takes in time is lost."""

    def start(
        self, deliver: Callable[[AudioChunk], None], end: Callable[[Exception | None], None]
    ) -> Callable[[], None]:
        """Begin to call ``deliver`` with each chunk, from any thread, and ``end`` once, after the
        last one or for a failure. Return a function that stops it.

        Chunks have a ``start_s`` each, so that what is lost is noticed.
        """


StreamSource: TypeAlias = (
    str | os.PathLike[str] | ReadableFile | Iterable[object] | AsyncIterable[object] | LiveSource
)
"""A path of an audio file; what has ``read(n)`` and returns int16 samples as bytes; an iterator of
chunks; or a live source."""


def chunks_of(source: object, sample_rate: float | None) -> Iterator[object]:
    """Yield the chunks of a source that can wait. Raises :class:`BadSamples` for what is none."""
    if isinstance(source, AudioChunk) or hasattr(source, "__array__"):
        return iter([source])
    if isinstance(source, (str, os.PathLike)):
        return _file_chunks(Path(source), sample_rate)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return iter([source]) if sample_rate is not None else _encoded_chunks(source)
    if callable(getattr(source, "read", None)):
        return _read_chunks(source, sample_rate)  # type: ignore[arg-type]
    if isinstance(source, AsyncIterable):
        raise BadSamples("an asynchronous source: use astream() for it")
    if isinstance(source, Iterable):
        return iter(source)
    raise BadSamples(
        "a stream's source is a path, an open pipe, an iterator of samples or a microphone, not "
        f"{type(source).__name__}"
    )


def fill(queue: ChunkQueue, source: object, sample_rate: float | None) -> None:
    """Read ``source`` to its end, or until nobody reads ``queue`` any more."""
    chunks: Iterator[object] = iter(())
    try:
        chunks = chunks_of(source, sample_rate)
        for item in chunks:
            if not queue.put(mono_chunk(item, sample_rate)):
                break
        queue.end()
    except BaseException as error:
        queue.end(source_error(error))
    finally:
        close = getattr(chunks, "close", None)
        if callable(close) and chunks is not source:
            close()


def source_error(error: BaseException) -> BaseException:
    """Return what a caller gets for the ``error`` of a source."""
    if isinstance(error, UgsdError) or not isinstance(error, Exception):
        return error
    failed = StreamSourceError(
        f"the stream's source failed ({type(error).__name__}): what was spoken before has been "
        "captioned; see the error's cause, and begin a new stream"
    )
    failed.__cause__ = error
    return failed


def _file_chunks(path: Path, sample_rate: float | None) -> Iterator[object]:
    is_pipe = path.exists() and stat.S_ISFIFO(path.stat().st_mode)
    if not is_pipe:
        if sample_rate is not None:
            raise BadSamples("sample_rate goes with samples; a file names its own: leave it out")
        yield from _encoded_chunks(path)
        return
    with path.open("rb", buffering=0) as file:
        yield from _read_chunks(file, sample_rate)


def _encoded_chunks(clip: Path | bytes | bytearray | memoryview) -> Iterator[AudioChunk]:
    with opened_segments(clip) as segments:
        for segment in segments:
            for block in segment.read():
                step = segment.rate  # a second at a time
                for at in range(0, len(block), step):
                    yield AudioChunk(block[at : at + step], segment.rate)


def _read_chunks(file: ReadableFile, sample_rate: float | None) -> Iterator[bytes]:
    if sample_rate is None:
        raise BadSamples(
            "an open file or pipe of raw int16 samples needs their sample_rate; give an encoded "
            "file by its path"
        )
    read = getattr(file, "read1", file.read)
    odd = b""
    while True:
        data = read(_READ_BYTES)
        if data is None:
            sleep(_NO_DATA_YET_S)
            continue
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise BadSamples(
                f"the source returns {type(data).__name__}, not bytes: open it as 'rb'"
            )
        if not data:
            return
        data = odd + bytes(data)
        whole = len(data) // 2 * 2
        data, odd = data[:whole], data[whole:]
        if data:
            yield data
