"""Chunks on their way from the thread that reads a source to the one that captions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

import numpy as np
from ugsd_privacy.forks import call_in_children

from ugsd_sdk.streams.chunks import MonoChunk

__all__ = ["ChunkQueue"]

_MAX_CHUNKS = 4096
_MAX_BYTES = 1 << 25
_JOINED_S = 0.02
"""Chunks that are shorter are joined to the one behind them."""
_SAME_TIME_S = 0.001


class ChunkQueue:
    """Holds at most ``max_s`` seconds of sound, 4,096 chunks and 32 MiB, and one chunk more.
    Threads may share it.

    A source that can wait uses :meth:`put`, and one that cannot :meth:`put_newest`. In a forked
    process the queue is closed, since the thread that fills it belongs to the parent.
    """

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._chunks = deque[MonoChunk]()
        self._held_s = 0.0
        self._held_bytes = 0
        self._changed = Condition()
        self._is_ended = False
        self.error: BaseException | None = None
        """Why the source ended, if it failed."""
        self.is_closed = False
        """Whether nobody reads any more."""
        self.closed_by: Exception | None = None
        """Why it was closed, if not because its stream was."""
        self.on_change: Callable[[], None] | None = None
        """Called on the source's thread when there is something new to read."""
        self.on_close: Callable[[], None] | None = None
        """Called when nobody reads any more, on the thread that closes the stream."""
        self.is_inherited = False
        """Whether this is the copy of a forked process."""
        call_in_children(self._end_in_child)

    def _end_in_child(self) -> None:
        self._changed = Condition()  # a thread of the parent may have held the other one
        self._chunks = deque()
        self.on_change = self.on_close = None
        self.is_closed = self.is_inherited = True

    def put(self, chunk: MonoChunk) -> bool:
        """Add ``chunk`` once there is room. Return whether anybody still reads."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or not self._is_full())
            self._append(chunk)
        self._notify()
        return not self.is_closed

    def put_newest(self, chunk: MonoChunk) -> None:
        """Add ``chunk`` at once, and drop the oldest if there is no room."""
        with self._changed:
            while self._chunks and self._is_full(chunk.duration_s):
                self._count(self._chunks.popleft(), -1)
            self._append(chunk)
        self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """End the stream after what was put, by ``error`` if the source failed."""
        with self._changed:
            self._is_ended, self.error = True, error
            self._changed.notify_all()
        self._notify()

    def close(self, error: Exception | None = None) -> None:
        """Drop everything: nobody reads any more, because of ``error`` if it is given. May be
        repeated; only the first time counts."""
        with self._changed:
            if not self.is_closed:
                self.is_closed, self.closed_by = True, error
            self._take_all()
            self._changed.notify_all()
        self._notify()
        if self.on_close is not None:
            self.on_close()

    def take(self, *, wait: bool = True) -> list[MonoChunk] | None:
        """Return what was put since the last call, ``None`` at the end or once it is closed.

        Waits for a chunk; with ``wait=False`` it returns at once, with an empty list if nothing new
        was put.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self.is_closed or self._chunks or self._is_ended)
            taken = self._take_all()
            self._changed.notify_all()
            is_over = self.is_closed or (self._is_ended and not taken)
            return None if is_over else taken

    def _is_full(self, more_s: float = 0.0) -> bool:
        has_time = self._held_s + more_s <= self._max_s if more_s else self._held_s < self._max_s
        has_room = len(self._chunks) < _MAX_CHUNKS and self._held_bytes < _MAX_BYTES
        return not (has_time and has_room)

    def _append(self, chunk: MonoChunk) -> None:
        if self.is_closed or (chunk.start_s is None and not len(chunk.samples)):
            return
        if self._chunks and _are_one(self._chunks[-1], chunk):
            last = self._chunks.pop()
            self._count(last, -1)
            samples = np.concatenate([last.samples, chunk.samples])
            chunk = MonoChunk(samples, last.rate, last.start_s)
        self._chunks.append(chunk)
        self._count(chunk, 1)
        self._changed.notify_all()

    def _count(self, chunk: MonoChunk, sign: int) -> None:
        self._held_s += sign * chunk.duration_s
        self._held_bytes += sign * chunk.samples.nbytes

    def _take_all(self) -> list[MonoChunk]:
        taken = list(self._chunks)
        self._chunks.clear()
        self._held_s, self._held_bytes = 0.0, 0
        return taken

    def _notify(self) -> None:
        if self.on_change is not None:
            self.on_change()


def _are_one(last: MonoChunk, chunk: MonoChunk) -> bool:
    """Return whether ``chunk`` continues ``last``, which is short."""
    if last.rate != chunk.rate or last.duration_s >= _JOINED_S:
        return False
    if chunk.start_s is None:
        return True
    return last.start_s is not None and (
        abs(last.start_s + last.duration_s - chunk.start_s) <= _SAME_TIME_S
    )
