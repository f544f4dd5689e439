"""What became of one clip of many."""

from __future__ import annotations

from dataclasses import dataclass

from ugsd_sdk.caption.caption import Caption
from ugsd_sdk.errors import AudioError, CaptionTimeout

__all__ = ["CaptionResult"]


@dataclass(frozen=True, slots=True)
class CaptionResult:
    """The caption of one of many clips, or the error of this clip alone."""

    index: int
    """Position of the clip among those that were given, from 0."""
    name: str | None
    """The path of the clip, or the name of its file object; ``None`` for bytes and samples."""
    caption: Caption | None
    """The caption; ``None`` if there is an error."""
    error: AudioError | CaptionTimeout | None = None
    """Why there is no caption: the clip is unusable, or took longer than ``timeout_s``."""
