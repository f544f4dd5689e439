"""Utterances with captions whose measures a test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ugsd_sdk.attributes.affect import CIRCUMPLEX
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.caption import Caption, CaptionSpeech, CaptionUsage, Latency
from ugsd_sdk.timelines.parts import TimelineUtterance

__all__ = ["speech_of", "steady_speech"]

_SPEECH_S = 2.0
_EVERY_S = 4.0


def speech_of(
    emotions: Sequence[str],
    *,
    pitch: Sequence[float],
    pace: Sequence[float],
    effort: Sequence[float],
) -> list[TimelineUtterance]:
    """Return an utterance of 2 s for each emotion, every 4 s, with the measures of each."""
    timed = []
    for index, emotion in enumerate(emotions):
        valence, arousal = CIRCUMPLEX[emotion]
        attributes = Attributes(
            emotion=Attribute(value=emotion, confidence=1.0, distribution={emotion: 1.0}),
            loudness=Attribute(value="moderate", confidence=1.0, measured=effort[index]),
            pace=Attribute(value="moderate", confidence=1.0, measured=pace[index]),
            pitch=Attribute(value="medium", confidence=1.0, measured=pitch[index]),
            valence=valence,
            arousal=arousal,
        )
        caption = Caption(
            text=f"It sounds {emotion}.",
            length=CaptionLength.NORMAL,
            seed=0,
            attributes=attributes,
            speech=CaptionSpeech(share=1, duration_s=_SPEECH_S, spans=((0, _SPEECH_S),)),
            usage=CaptionUsage(),
            latency_ms=Latency(),
        )
        start_s = index * _EVERY_S
        timed.append(TimelineUtterance(start_s=start_s, end_s=start_s + _SPEECH_S, caption=caption))
    return timed


def steady_speech(count: int, seed: int) -> list[TimelineUtterance]:
    """Return utterances that differ by chance alone."""
    rng = np.random.default_rng(seed)
    emotions = rng.choice(["neutral", "happy", "angry", "sad"], count, p=[0.6, 0.2, 0.1, 0.1])
    return speech_of(
        [str(one) for one in emotions],
        pitch=rng.normal(5, 2, count).tolist(),
        pace=rng.normal(5, 0.7, count).tolist(),
        effort=rng.standard_t(2, count).tolist(),
    )
