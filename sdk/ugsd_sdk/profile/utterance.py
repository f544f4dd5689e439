"""What is remembered of an utterance until the speaker's next one."""

from __future__ import annotations

from dataclasses import dataclass

from ugsd_sdk.prosody.prosody import Prosody

__all__ = ["Utterance"]


@dataclass(frozen=True)
class Utterance:
    """How one utterance sounded. It is kept in memory only, and never sent."""

    prosody: Prosody
    arousal: float
    """How agitated the voice sounds, from -1 to 1."""
    ended_s: float
    """When it ended, in seconds of a monotonic clock."""
