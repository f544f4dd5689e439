"""Loud sounds of a stream in which no speech was found: they may be shouts."""

from __future__ import annotations

from ugsd_sdk.speech.spans import SAMPLE_RATE, WINDOW_SAMPLES

__all__ = ["LoudSounds"]

_LOUD = 0.1
"""Share, -20 dB, of the stream's level from which a window is loud."""
_MAX_WINDOWS = 10 * SAMPLE_RATE // WINDOW_SAMPLES
"""Nobody shouts for longer than ten seconds without a pause; noise does."""


class LoudSounds:
    """Finds where sounds begin and end, window by window; see :meth:`push`."""

    def __init__(self, end_pause_windows: int) -> None:
        self._end_pause = end_pause_windows
        self._num_windows = 0
        self._start: int | None = None
        self._end = 0

    @property
    def start(self) -> int | None:
        """First window of the sound in hand, unless it lasts too long for a shout."""
        is_long = self._start is not None and self._num_windows - self._start > _MAX_WINDOWS
        return None if is_long else self._start

    def push(self, rms: float, level: float, *, is_speech: bool) -> tuple[int, int] | None:
        """Add a window with its root mean square and the stream's level. Return the first window of
        the sound that ended with it and the one after its last, if one did that may be a shout. A
        sound lasts at least as long as what may be an utterance in it, ``is_speech``."""
        index = self._num_windows
        self._num_windows += 1
        if rms >= _LOUD * level:
            self._start = index if self._start is None else self._start
            self._end = index + 1
        elif index - self._end >= self._end_pause and not is_speech:
            return self.take()
        return None

    def drop(self) -> None:
        """Forget the sound in hand: speech was found in it."""
        self._start = None

    def take(self) -> tuple[int, int] | None:
        """Return the sound in hand as if it had ended, if it may be a shout."""
        start, self._start = self.start, None
        return None if start is None else (start, self._end)
