"""Caption many clips on several threads: those of one speaker in their order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import TypeAlias

from ugsd_sdk.caption import Caption
from ugsd_sdk.cli.clip_inputs import ClipInput
from ugsd_sdk.errors import AudioError

__all__ = ["Outcome", "captioned"]

Outcome: TypeAlias = Caption | AudioError


def captioned(
    clips: Sequence[ClipInput],
    caption: Callable[[ClipInput], Caption],
    *,
    jobs: int,
    speaker: Callable[[ClipInput], str | None],
) -> Generator[tuple[ClipInput, Outcome]]:
    """Yield each clip with its caption or the error of this clip, as soon as it is there.

    ``jobs`` clips are captioned at once; with one job they come in order. Those for which
    ``speaker`` returns the same name are captioned one after another. Any other error is raised.
    Closing the iterator waits for the clips that are under way, and begins no other.
    """
    ready: SimpleQueue[tuple[ClipInput, Outcome | Exception]] = SimpleQueue()
    stopped = Event()

    def work(sequence: Sequence[ClipInput]) -> None:
        for clip in sequence:
            if stopped.is_set():
                return
            try:
                ready.put((clip, caption(clip)))
            except Exception as error:
                ready.put((clip, error))

    pool = ThreadPoolExecutor(jobs, "ugsd-caption")
    try:
        for sequence in _sequences(clips, speaker):
            pool.submit(work, sequence)
        for _ in clips:
            clip, outcome = ready.get()
            if isinstance(outcome, Exception) and not isinstance(outcome, AudioError):
                raise outcome
            yield clip, outcome
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _sequences(
    clips: Sequence[ClipInput], speaker: Callable[[ClipInput], str | None]
) -> list[list[ClipInput]]:
    """Return the clips of each speaker, and each clip of nobody by itself, in order."""
    by_speaker: dict[object, list[ClipInput]] = {}
    for clip in clips:
        name = speaker(clip)
        by_speaker.setdefault(object() if name is None else name, []).append(clip)
    return list(by_speaker.values())
