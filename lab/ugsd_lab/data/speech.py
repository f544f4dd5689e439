"""The speech of corpus clips, found as the device finds it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.speech.spans import Speech
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from ugsd_lab.data.corpora import Clip, read_samples

__all__ = ["measure_prosody", "read_speech", "speech_in"]

_PIECE_SAMPLES = 30 * 16_000
"""The device reads a recording in pieces of this length."""


@cache
def _detector() -> VoiceActivityDetector:
    return VoiceActivityDetector()


def speech_in(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the speech in ``samples`` (n,) at 16 kHz, or all of them if too little is found: every
    clip of a corpus holds a voice."""
    return _find(samples).samples(samples)


def measure_prosody(samples: NDArray[np.float32]) -> Prosody | None:
    """Return what the device measures of the speech in ``samples`` (n,) at 16 kHz; ``None`` if they
    are silent."""
    meter = ProsodyMeter()
    for start in range(0, len(samples), _PIECE_SAMPLES):
        piece = samples[start : start + _PIECE_SAMPLES]
        meter.add(piece, _find(piece).spans, start)
    return meter.result()


def _find(samples: NDArray[np.float32]) -> Speech:
    speech = _detector().find(samples)
    return speech if speech.is_enough else Speech(((0, len(samples)),), len(samples))


def read_speech(clip: Clip) -> NDArray[np.float32]:
    """Return the speech of ``clip`` (n,) at 16 kHz. Raises :class:`CorpusError`."""
    return speech_in(read_samples(clip))
