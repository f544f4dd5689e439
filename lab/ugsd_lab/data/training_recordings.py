"""The recordings that models are trained on: clips as recorded, and copies as people make them.

A copy may join two clips of one speaker and emotion with a pause, so that its length says nothing
about the emotion; it passes through a simulated room, microphone and codec
(:mod:`~ugsd_lab.data.augment`); and silence or faint noise of up to some seconds lies around it.
Models are trained on the speech that the device's detector finds in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.augment import augmented
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.sounds import coloured_noise
from ugsd_lab.data.speech import speech_in

__all__ = ["TrainingRecordings", "copy_key", "copy_rng"]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
_JOINED_SHARE = 0.4
"""Share of copies that join two clips."""
_PADDED_SHARE = 0.5
"""Share of copies with silence or noise around them."""
_PADDING_S = (0.1, 3.0)
_PAUSE_S = (0.05, 1.0)
_FLOOR_DBFS = (-75.0, -45.0)
"""Level of the noise in pauses and padding; half of them are digital silence."""


def copy_key(clip: Clip, copy: int) -> str:
    """Return the name of a clip's augmented copy; number 0 is the clip itself."""
    return f"{clip.id}#{copy}"


def copy_rng(clip: Clip, copy: int) -> np.random.Generator:
    """Return the random generator of a clip's augmented copy."""
    return np.random.default_rng(list(hashlib.sha256(copy_key(clip, copy).encode()).digest()))


@dataclass(frozen=True)
class TrainingRecordings:
    """The recordings made of ``clips``. Each depends on them and on its clip and number alone."""

    clips: Sequence[Clip]
    _alike: dict[tuple[object, ...], list[Clip]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for clip in self.clips:
            if clip.split == "train":
                self._alike.setdefault(_delivery(clip), []).append(clip)

    def companion(self, clip: Clip, copy: int) -> Clip | None:
        """Return the clip that copy ``copy`` of ``clip`` is joined with, if any: of the same
        speaker, emotion and intensity."""
        rng = _choices(clip, copy)
        others = [other for other in self._alike.get(_delivery(clip), ()) if other.id != clip.id]
        if copy == 0 or not others or rng.random() >= _JOINED_SHARE:
            return None
        return others[int(rng.integers(len(others)))]

    def speech(self, clip: Clip, copy: int) -> Float32:
        """Return the speech (n,) at 16 kHz in copy ``copy`` of ``clip``; number 0 is the clip."""
        samples = read_samples(clip)
        if copy:
            rng = _choices(clip, -copy)
            companion = self.companion(clip, copy)
            if companion is not None:
                samples = _joined(samples, read_samples(companion), rng)
            samples = _padded(augmented(samples, copy_rng(clip, copy)), rng)
        return speech_in(samples)


def _delivery(clip: Clip) -> tuple[object, ...]:
    return clip.corpus, clip.speaker, clip.emotion, clip.intensity


def _choices(clip: Clip, copy: int) -> np.random.Generator:
    """Return a generator besides :func:`copy_rng`, which :func:`augmented` uses."""
    name = f"recording of {copy_key(clip, copy)}"
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def _joined(first: Float32, second: Float32, rng: np.random.Generator) -> Float32:
    """Join two clips in random order and at one level, with a pause between them."""
    level = np.sqrt(np.mean(np.square(first, dtype=np.float64)))
    other = np.sqrt(np.mean(np.square(second, dtype=np.float64)))
    second = second * np.float32(level / max(other, 1e-6))
    parts = [first, second] if rng.random() < 0.5 else [second, first]
    joined = np.concatenate([parts[0], _floor(rng.uniform(*_PAUSE_S), rng), parts[1]])
    scaled: Float32 = joined / np.maximum(np.abs(joined).max(), np.float32(1))
    return scaled


def _padded(samples: Float32, rng: np.random.Generator) -> Float32:
    if rng.random() >= _PADDED_SHARE:
        return samples
    before, after = (_floor(rng.uniform(*_PADDING_S), rng) for _ in range(2))
    return np.concatenate([before, samples, after])


def _floor(duration_s: float, rng: np.random.Generator) -> Float32:
    """Return digital silence or faint noise (n,)."""
    num_samples = round(duration_s * SAMPLE_RATE)
    if rng.random() < 0.5:
        return np.zeros(num_samples, dtype=np.float32)
    level = np.float32(10 ** (rng.uniform(*_FLOOR_DBFS) / 20))
    return level * coloured_noise(num_samples, rng.uniform(0, 2), rng)
