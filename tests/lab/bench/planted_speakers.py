"""Recordings whose speaker and take a test chooses, and a drafter that hears both in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip, Split
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

Float32 = NDArray[np.float32]

RATE = 16_000
_WINDOW = 2 * RATE
_TAKES_HZ = 2_025
_BAND_HZ = 50
_BANDS = np.arange(0, RATE / 2 + 1, _BAND_HZ)


@dataclass(frozen=True)
class Speaker:
    """A speaker with the tone in all their recordings."""

    name: str
    gender: Literal["female", "male"] | None
    hz: int


ADA = Speaker("ada", "female", 325)
EVE = Speaker("eve", "female", 525)
BEN = Speaker("ben", "male", 825)


def recordings(
    folder: Path,
    speakers: Sequence[Speaker],
    *,
    takes: int = 12,
    corpus: str = "planted",
    split: Split = "test",
    duration_s: float = 2.0,
) -> list[Clip]:
    """Write ``takes`` recordings of each speaker: the speaker's tone, and a fainter one that
    numbers the take."""
    clips, times_s = [], np.arange(round(duration_s * RATE)) / RATE
    for speaker in speakers:
        for take in range(takes):
            file = folder / f"{corpus}-{speaker.name}-{take}.wav"
            take_hz = _TAKES_HZ + 2 * _BAND_HZ * take
            sound = np.sin(2 * np.pi * speaker.hz * times_s)
            sound += 0.5 * np.sin(2 * np.pi * take_hz * times_s)
            soundfile.write(file, 0.2 * sound, RATE, subtype="FLOAT")
            clips.append(
                Clip(
                    file, corpus, speaker.name, speaker.gender, "English", None, None, "", split,
                )
            )  # fmt: skip
    return clips


class PlantedDrafter(ScriptedDrafter):
    """Its voice vector is the speaker's tone, in units of ``hz_per_unit``; its audio embedding is
    the spectrum. ``encoded`` counts recordings."""

    def __init__(
        self,
        *,
        hz_per_unit: float = 100.0,
        hears_takes: bool = True,
        hears_level: bool = False,
        takes_are_speakers: bool = False,
        has_voices: bool = True,
    ) -> None:
        super().__init__(profiles=True)
        self._hz_per_unit = hz_per_unit
        self._lowest_hz = _TAKES_HZ if takes_are_speakers else 0
        self._highest_hz = np.inf if hears_takes else _TAKES_HZ - _BAND_HZ
        self._hears_level = hears_level
        self._has_voices = has_voices
        self.encoded = 0

    @property
    def info(self) -> DrafterInfo:
        return replace(super().info, voice_encoder=b"\x07" * 32 if self._has_voices else b"")

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        self.encoded += 1
        return super().encode(speech, profile)

    def voice_of(self, samples: Float32) -> ClipVoice:
        hz, spectrum = _spectrum(samples)
        bands, _ = np.histogram(hz, _BANDS, weights=spectrum * (hz < self._highest_hz))
        scale = 1.0 if self._hears_level else max(float(np.linalg.norm(bands)), 1e-9)
        parts = [samples[at : at + _WINDOW] for at in range(0, len(samples), _WINDOW)]
        return ClipVoice(
            (bands / scale).astype(np.float32),
            duration_s=len(samples) / RATE,
            voice=self._tone(samples) if self._has_voices else None,
            windows=np.stack(list(map(self._tone, parts))) if self._has_voices else None,
        )

    def _tone(self, samples: Float32) -> Float32:
        hz, spectrum = _spectrum(samples)
        loudest = hz[np.argmax(spectrum * (hz >= self._lowest_hz))]
        return np.array([loudest / self._hz_per_unit, 0], dtype=np.float32)


def _spectrum(samples: Float32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return np.fft.rfftfreq(len(samples), 1 / RATE), power
