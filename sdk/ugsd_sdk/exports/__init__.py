"""Captions with times as files: JSON Lines, WebVTT, SubRip (SRT) and CSV."""

from __future__ import annotations

from ugsd_sdk.exports.formats import CaptionFormat, CaptionFormatter, caption_formatter
from ugsd_sdk.exports.timed_caption import TimedCaption
from ugsd_sdk.exports.writing import caption_file_text, write_captions

__all__ = [
    "CaptionFormat",
    "CaptionFormatter",
    "TimedCaption",
    "caption_file_text",
    "caption_formatter",
    "write_captions",
]
