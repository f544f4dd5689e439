"""Clips whose voices a test chooses, and a drafter that reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter import DrafterInfo
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.speaker_profile import ClipVoice

__all__ = ["ADA", "BEN", "VoicesDrafter", "spoken"]

Float32 = NDArray[np.float32]

ADA, BEN = (0.0, 0.0), (5.0, 0.0)
"""Voice vectors of two speakers, who are five times as far apart as clips of one."""
_WINDOW = 32_000
_SCALE = 100.0


def spoken(*speakers: tuple[float, float], take: int = 0) -> Float32:
    """Return a clip in which each of ``speakers`` speaks for two seconds; ``take`` numbers its
    recordings. For a detector that takes everything for speech."""
    rng = np.random.default_rng(take)
    parts = []
    for speaker in speakers:
        level = np.repeat(rng.uniform(0.05, 0.5, 16), _WINDOW // 16)
        part = (level * rng.uniform(-1, 1, _WINDOW)).astype(np.float32)
        part[:2] = np.array(speaker) / _SCALE
        parts.append(part)
    return np.concatenate(parts)


class VoicesDrafter(ScriptedDrafter):
    """A scripted drafter that knows the voice in each two seconds of :func:`spoken`, and whether it
    sounds female: ``femininity`` is what it says of every clip."""

    femininity: float | None = None

    def __init__(self, *, seed: int = 3, vocabulary_size: int = 400) -> None:
        super().__init__(seed=seed, vocabulary_size=vocabulary_size, profiles=True)

    @property
    def info(self) -> DrafterInfo:
        return replace(super().info, voice_encoder=b"\x07" * 32)

    def voice_of(self, samples: Float32) -> ClipVoice:
        windows = np.stack(
            [samples[at : at + 2] * _SCALE for at in range(0, len(samples), _WINDOW)]
        )
        return replace(
            super().voice_of(samples),
            voice=windows.mean(axis=0),
            windows=windows,
            femininity=self.femininity,
        )
