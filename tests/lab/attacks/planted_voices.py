"""Clips of invented speakers, and features in which a label is planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.data.corpora import Clip, Split

__all__ = ["planted", "voices_of"]


def voices_of(
    speakers: int,
    clips: int,
    *,
    corpus: str = "nemo",
    emotions: Sequence[str] = ("angry", "sad", "happy"),
    sentences: int = 4,
    split: Callable[[int], Split] = lambda speaker: "train",
) -> Voices:
    """Return ``clips`` clips of each speaker; genders, emotions and sentences alternate."""
    return Voices(
        [
            Clip(
                path=Path(f"{corpus}-{speaker}-{number}.wav"),
                corpus=corpus,
                speaker=f"{speaker:02}",
                gender="female" if speaker % 2 else "male",
                language="Polish",
                emotion=emotions[number % len(emotions)],
                intensity=None,
                sentence=f"sentence {number % sentences}",
                split=split(speaker),
            )
            for speaker in range(speakers)
            for number in range(clips)
        ]
    )


def planted(
    labels: NDArray[np.str_], strength: float, *, dim: int = 8, seed: int = 0
) -> NDArray[np.float32]:
    """Return (n, dim) features: each label's own position plus noise of standard deviation 1."""
    rng = np.random.default_rng(seed)
    names, which = np.unique(labels, return_inverse=True)
    places = strength * rng.normal(size=(len(names), dim))
    return (places[which] + rng.normal(size=(len(labels), dim))).astype(np.float32)
