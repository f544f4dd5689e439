"""What a call for a caption reports while it runs.

Events hold durations, sizes and counts. None holds text, tokens, audio, the name of a user or that
of a file, so an application may log all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ugsd_privacy.reasons import ReasonCode

from ugsd_sdk.errors import WrongType

__all__ = [
    "AudioRead",
    "BlockSent",
    "CallEvent",
    "CaptionFailed",
    "CaptionFinished",
    "CaptionStarted",
    "ClipEncoded",
    "EventListener",
    "VerdictReceived",
]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaptionStarted:
    """The first event of each call."""


@dataclass(frozen=True, slots=True)
class AudioRead:
    """The recording was read to its end."""

    duration_s: float
    """How long it is."""
    speech_s: float
    """How much of it is speech."""


@dataclass(frozen=True, slots=True)
class ClipEncoded:
    """The drafter knows the clip; decoding begins."""

    encode_ms: float
    """Milliseconds since the start of the call, without loading."""


@dataclass(frozen=True, slots=True)
class BlockSent:
    """A block was charged, logged and sent to the verifier."""

    num_tokens: int
    """How many tokens it offers."""
    bytes_sent: int
    """Size of its frame."""


@dataclass(frozen=True, slots=True)
class VerdictReceived:
    """The verifier judged the last block."""

    num_accepted: int
    """How many of its tokens were accepted."""


@dataclass(frozen=True, slots=True)
class CaptionFinished:
    """The caption is complete: the last event of a call that returns one."""

    total_ms: float
    """As ``caption.latency_ms.total``."""
    num_blocks: int
    """As ``caption.usage.num_blocks``."""
    unverified_reason: ReasonCode | None
    """The code of ``caption.unverified_reason``."""


@dataclass(frozen=True, slots=True)
class CaptionFailed:
    """The last event of a call that raises."""

    error: str
    """Name of the error's type, such as ``"CaptionTimeout"``."""


CallEvent: TypeAlias = (
    CaptionStarted
    | AudioRead
    | ClipEncoded
    | BlockSent
    | VerdictReceived
    | CaptionFinished
    | CaptionFailed
)


class EventListener:
    """An application's callback, whose exceptions cost no caption: the first one is logged."""

    def __init__(self, on_event: Callable[[CallEvent], object]) -> None:
        """Raises :class:`TypeError` if ``on_event`` cannot be called."""
        if not callable(on_event):
            raise WrongType(f"on_event must be a function, not {type(on_event).__name__}")
        self._on_event = on_event
        self._has_failed = False

    def __call__(self, event: CallEvent) -> None:
        """Pass the event on."""
        try:
            self._on_event(event)
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                _logger.error("on_event raised %s", type(error).__name__)  # noqa: TRY400
