"""The speech of corpus clips, found as the device finds it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from ugsd_lab.data.corpora import Clip, read_samples

__all__ = ["read_speech", "speech_in"]


@cache
def _detector() -> VoiceActivityDetector:
    return VoiceActivityDetector()


def speech_in(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the speech in ``samples`` (n,) at 16 kHz, or all of them if too little is found: every
    clip of a corpus holds a voice."""
    speech = _detector().find(samples)
    return speech.samples(samples) if speech.is_enough else samples


def read_speech(clip: Clip) -> NDArray[np.float32]:
    """Return the speech of ``clip`` (n,) at 16 kHz. Raises :class:`CorpusError`."""
    return speech_in(read_samples(clip))
