"""Chunks in, events out: the state machine of a stream, without input or output of its own.

::

    pause ── speech ──> speaking ── a second more ──> DraftCaption, still speaking
      ^                    └── pause, gap, end or error ──> FinalCaption
      └─────────────────────────────────┘

It captions on the thread that asks for its events, so nothing piles up in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption.caption import Caption
from ugsd_sdk.caption.options import CaptionOptions, UtteranceCaptioner
from ugsd_sdk.errors import AudioError, WrongType
from ugsd_sdk.speech.segmenter import (
    Segmenter,
    SegmenterEvent,
    SpeechStarted,
    check_pauses,
    window_detector,
)
from ugsd_sdk.speech.spans import END_PAUSE_S, MAX_SEGMENT_S, SAMPLE_RATE
from ugsd_sdk.streams.chunk_reader import ChunkReader, Missing
from ugsd_sdk.streams.chunks import MonoChunk
from ugsd_sdk.streams.events import DraftCaption, FinalCaption, StreamEvent, StreamGap

if TYPE_CHECKING:
    from ugsd_sdk.attributes.length import CaptionLength
    from ugsd_sdk.profile.profile import Profile

__all__ = ["StreamKeywords", "StreamOptions", "UtteranceCaptions", "checked"]

Float32 = NDArray[np.float32]

_DRAFT_S = 4.0
"""A draft describes at most this much of the speech before it."""
_DRAFT_EVERY_S = 1.0
_LATER_DRAFT_EVERY_S = 2.0
"""Seconds of speech between drafts, before and after :data:`_DRAFT_S`."""
_MAX_LAG_S = 0.5
"""Drafts are left out while captions are so far behind the sound."""
_STEP_SAMPLES = SAMPLE_RATE // 4
"""Events of a large chunk are reported as they are found."""


@dataclass(frozen=True)
class StreamOptions:
    """How speech is cut into utterances, and whether it is drafted meanwhile.

    Raises :class:`~ugsd_sdk.errors.ConfigError` for numbers that :class:`Segmenter` refuses.
    """

    drafts: bool = True
    end_pause_s: float = END_PAUSE_S
    max_segment_s: float = MAX_SEGMENT_S

    def __post_init__(self) -> None:
        if not isinstance(self.drafts, bool):
            raise WrongType(f"drafts must be true or false, not {type(self.drafts).__name__}")
        check_pauses(self.end_pause_s, self.max_segment_s)


class StreamKeywords(TypedDict, total=False):
    """The keyword arguments of :meth:`Captioner.stream <ugsd_sdk.Captioner.stream>`."""

    user: str | None
    profile: Profile | None
    length: CaptionLength | str | None
    seed: int | None
    drafts: bool
    end_pause_s: float
    max_segment_s: float


def checked(keywords: StreamKeywords) -> tuple[CaptionOptions, StreamOptions]:
    """Return the options of the stream's captions, which belong to one recording, and those of
    the stream. Raises :class:`TypeError` and :class:`ConfigError`."""
    unknown = keywords.keys() - StreamKeywords.__annotations__.keys()
    if unknown:
        raise WrongType(f"unexpected keyword argument {min(unknown)!r}")
    given = dict(keywords)
    given.pop("user", None)
    wanted = (given.pop(name, None) for name in ("profile", "length", "seed"))
    options = CaptionOptions.checked(*wanted)  # type: ignore[arg-type]
    streaming = StreamOptions(**given)  # type: ignore[arg-type]
    return replace(options, recording=os.urandom(16)), streaming


class UtteranceCaptions:
    """Turns the chunks of a stream into its events. Each iterator that a method returns must be
    read to its end before the next call."""

    def __init__(
        self,
        detector: object,
        caption: UtteranceCaptioner,
        options: StreamOptions,
        *,
        new_call: Callable[[], Call] = Call,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Read nothing yet. ``new_call`` makes the call of each final caption; drafts report no
        events. Raises :class:`ConfigError` for a detector that cannot read windows."""
        self._segmenter = Segmenter(
            window_detector(detector),
            end_pause_s=options.end_pause_s,
            max_segment_s=options.max_segment_s,
        )
        self._caption = caption
        self._has_drafts = options.drafts
        self._new_call = new_call
        self._clock = clock
        self._reader = ChunkReader()
        self._lag_s = 0.0
        self._drafted_s = 0.0
        """Where the last draft ended."""
        self._call = Call()
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the caption that is being made, and those that come, by :class:`CaptionCancelled`.
        Any thread may call this."""
        self._is_cancelled = True
        self._call.cancel()

    def push(self, chunk: MonoChunk) -> Iterator[StreamEvent]:
        """Yield what ``chunk`` shows. Raises what the captioner raises, and :class:`BadSamples`,
        after the utterance in hand was captioned, for time stamps that go back."""
        started_s = self._clock()
        try:
            pieces = list(self._reader.read(chunk))
        except AudioError:
            yield from self.finish()
            raise
        for piece in pieces:
            if isinstance(piece, Missing):
                yield from self._skip(piece)
            else:
                yield from self._add(piece)
        self._lag_s = max(self._lag_s + self._clock() - started_s - chunk.duration_s, 0)

    def finish(self) -> Iterator[StreamEvent]:
        """Yield what is left: the stream has ended."""
        for piece in self._reader.finish():
            yield from self._add(piece)
        yield from self._captioned(self._segmenter.finish())

    def _add(self, samples: Float32) -> Iterator[StreamEvent]:
        for at in range(0, len(samples), _STEP_SAMPLES):
            yield from self._captioned(self._segmenter.push(samples[at : at + _STEP_SAMPLES]))
            yield from self._draft()

    def _skip(self, missing: Missing) -> Iterator[StreamEvent]:
        at_s = self._segmenter.position_s
        yield from self._captioned(self._segmenter.skip(missing.num_samples))
        yield StreamGap(at_s, missing.num_samples / SAMPLE_RATE)

    def _captioned(self, events: Sequence[SegmenterEvent]) -> Iterator[StreamEvent]:
        for event in events:
            if isinstance(event, SpeechStarted):
                self._drafted_s = event.at_s
                yield event
            else:
                caption = self._caption_of(event.samples, is_draft=False)
                yield FinalCaption(event.start_s, event.end_s, caption, event.is_cut)

    def _draft(self) -> Iterator[DraftCaption]:
        spoken = self._segmenter.utterance_s if self._has_drafts else None
        if spoken is None:
            return
        start_s, end_s = spoken
        every_s = _DRAFT_EVERY_S if end_s - start_s <= _DRAFT_S else _LATER_DRAFT_EVERY_S
        if end_s - self._drafted_s < every_s:
            return
        self._drafted_s = end_s
        if self._lag_s > _MAX_LAG_S:
            return
        samples = self._segmenter.utterance(_DRAFT_S)
        caption = self._caption_of(samples, is_draft=True)
        yield DraftCaption(end_s - len(samples) / SAMPLE_RATE, end_s, caption)

    def _caption_of(self, samples: Float32, *, is_draft: bool) -> Caption:
        self._call = call = Call() if is_draft else self._new_call()
        if self._is_cancelled:
            call.cancel()
        return self._caption(samples, is_draft=is_draft, call=call)
