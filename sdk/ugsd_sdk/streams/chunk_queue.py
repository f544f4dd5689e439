"""Chunks on their way from the thread that reads a source to the one that captions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from ugsd_sdk.streams.chunks import MonoChunk

__all__ = ["ChunkQueue"]


class ChunkQueue:
    """Holds at most ``max_s`` seconds of sound, and one chunk more. Threads may share it.

    A source that can wait uses :meth:`put`, and one that cannot :meth:`put_newest`.
    """

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._chunks = deque[MonoChunk]()
        self._held_s = 0.0
        self._changed = Condition()
        self._is_ended = False
        self.error: BaseException | None = None
        """Why the source ended, if it failed."""
        self.is_closed = False
        """Whether nobody reads any more."""
        self.on_change: Callable[[], None] | None = None
        """Called on the source's thread when there is something new to read."""
        self.on_close: Callable[[], None] | None = None
        """Called when nobody reads any more, on the thread that closes the stream."""

    def put(self, chunk: MonoChunk) -> bool:
        """Add ``chunk`` once there is room. Return whether anybody still reads."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._held_s < self._max_s)
            self._append(chunk)
        self._notify()
        return not self.is_closed

    def put_newest(self, chunk: MonoChunk) -> None:
        """Add ``chunk`` at once, and drop the oldest if there is no room."""
        with self._changed:
            while self._held_s + chunk.duration_s > self._max_s and self._chunks:
                self._held_s -= self._chunks.popleft().duration_s
            self._append(chunk)
        self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """End the stream after what was put, by ``error`` if the source failed."""
        with self._changed:
            self._is_ended, self.error = True, error
            self._changed.notify_all()
        self._notify()

    def close(self) -> None:
        """Drop everything: nobody reads any more. May be repeated."""
        with self._changed:
            self.is_closed = True
            self._chunks.clear()
            self._held_s = 0.0
            self._changed.notify_all()
        self._notify()
        if self.on_close is not None:
            self.on_close()

    def take(self, *, wait: bool = True) -> list[MonoChunk] | None:
        """Return what was put since the last call, ``None`` at the end or once it is closed.

        Waits for a chunk, or else returns none if there is none yet.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self.is_closed or self._chunks or self._is_ended)
            taken = list(self._chunks)
            self._chunks.clear()
            self._held_s = 0.0
            self._changed.notify_all()
            is_over = self.is_closed or (self._is_ended and not taken)
            return None if is_over else taken

    def _append(self, chunk: MonoChunk) -> None:
        if not self.is_closed:
            self._chunks.append(chunk)
            self._held_s += chunk.duration_s
            self._changed.notify_all()

    def _notify(self) -> None:
        if self.on_change is not None:
            self.on_change()
