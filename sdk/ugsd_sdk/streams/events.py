"""What a stream reports. Times are seconds from its start, with gaps counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ugsd_sdk.caption.caption import Caption
from ugsd_sdk.speech.segmenter import SpeechStarted

__all__ = ["DraftCaption", "FinalCaption", "SpeechStarted", "StreamEvent", "StreamGap"]


@dataclass(frozen=True)
class DraftCaption:
    """How someone who is speaking sounds so far. The next draft or final caption replaces it.

    It was made on the device, changed no profile, and nothing was sent for it.
    """

    start_s: float
    """Where the speech begins that is described: at most the last 4 s."""
    end_s: float
    caption: Caption


@dataclass(frozen=True)
class FinalCaption:
    """How an utterance sounded, right after the pause that ended it."""

    start_s: float
    end_s: float
    caption: Caption
    is_cut: bool = False
    """Whether the speech lasted too long for one caption and goes on in the next."""


@dataclass(frozen=True)
class StreamGap:
    """Sound is missing: it was lost on its way, or dropped because captions took too long."""

    at_s: float
    duration_s: float


StreamEvent: TypeAlias = SpeechStarted | DraftCaption | FinalCaption | StreamGap
