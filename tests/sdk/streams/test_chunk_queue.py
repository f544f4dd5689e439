"""The bounds of the queue between a source and the captions, and its copy after a fork."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from ugsd_sdk.errors import StreamSourceError
from ugsd_sdk.streams.caption_stream import CaptionStream
from ugsd_sdk.streams.chunk_queue import ChunkQueue
from ugsd_sdk.streams.chunks import MonoChunk

from tests.doubles.streams import FakeCaptioner, PushedSource

SOON_S = 10


def chunk(count: int, start_s: float | None = None) -> MonoChunk:
    return MonoChunk(np.arange(count, dtype=np.float32), 16_000, start_s)


def test_empty_and_tiny_chunks_take_no_room() -> None:
    queue = ChunkQueue(2.0)
    for _ in range(10_000):
        queue.put(chunk(0))
        queue.put(chunk(1))
    taken = queue.take() or []
    assert len(taken) <= 40
    assert sum(len(one.samples) for one in taken) == 10_000


def test_chunks_with_gaps_are_bounded() -> None:
    queue = ChunkQueue(30.0)
    for index in range(10_000):
        queue.put_newest(chunk(0, float(index)))
    taken = queue.take() or []
    assert len(taken) <= 4096
    assert taken[-1].start_s == 9999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_stream_is_over() -> None:
    stream = CaptionStream(PushedSource(), 16_000, FakeCaptioner().captions)
    threading.Thread(target=next, args=(stream, None), daemon=True).start()
    held = stream._queue._changed
    with held:  # as a thread of the parent may hold it
        child = os.fork()
        if not child:
            try:
                next(stream)
            except StreamSourceError:
                stream.close()
                os._exit(0)
            os._exit(1)
    done = threading.Event()
    status: list[int] = []

    def wait() -> None:
        status.append(os.waitpid(child, 0)[1])
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    is_over = done.wait(SOON_S)
    if not is_over:
        os.kill(child, 9)
    stream.close()
    assert is_over
    assert status == [0]
