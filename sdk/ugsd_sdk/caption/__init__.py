"""The result: how a voice sounds, the source of each word, and what was sent for it."""

from __future__ import annotations

from ugsd_sdk.caption.caption import NO_SPEECH, Caption, escaped_path
from ugsd_sdk.caption.parts import (
    BlockDecision,
    CaptionProfile,
    CaptionSpeech,
    CaptionToken,
    CaptionUsage,
    Latency,
)

__all__ = [
    "NO_SPEECH",
    "BlockDecision",
    "Caption",
    "CaptionProfile",
    "CaptionSpeech",
    "CaptionToken",
    "CaptionUsage",
    "Latency",
    "escaped_path",
]
