"""One labelled recording, and its samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from ugsd_lab.errors import CorpusError

__all__ = ["EMOTIONS", "SPLITS", "Clip", "Split", "read_samples"]

EMOTIONS = (
    "neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "bored",
)  # fmt: skip
"""Every emotion that some corpus names; each corpus has its own subset."""

Split = Literal["train", "dev", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "calibration", "test")

_VOWELS = re.compile("[aeiouyäöüąęó]+", re.IGNORECASE)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class Clip:
    """One recording and what its corpus says of it."""

    path: Path
    corpus: str
    speaker: str
    """Who speaks; in corpora that do not say, what their loader puts in its place."""
    gender: Literal["female", "male"] | None
    """None where the corpus does not say."""
    language: str
    emotion: str | None
    """One of :data:`EMOTIONS`; None where the corpus has no classes."""
    intensity: Literal["normal", "strong"] | None
    sentence: str
    """What was said, empty where the corpus does not say. It measures pace and groups clips; it
    never enters a caption."""
    split: Split
    votes: Mapping[str, int] | None = field(default=None, hash=False)
    """Listeners' answers by emotion, where the corpus has them."""
    captions: tuple[str, ...] = ()
    """Descriptions as published, where the corpus has them; its loader says in what language."""
    name: str = ""
    """Name within the corpus where the file's own is not unique."""

    @property
    def id(self) -> str:
        """Name within the corpora: ``emodb/03a01Fa``."""
        return f"{self.corpus}/{self.name or self.path.stem}"

    @property
    def syllables(self) -> int | None:
        """Vowel groups of the sentence, the usual estimate of its syllables; in Chinese its Han
        characters, a syllable each. None where the sentence is not known."""
        if not self.sentence:
            return None
        if self.language == "Chinese":
            return len(_HAN.findall(self.sentence)) or None
        return max(1, len(_VOWELS.findall(self.sentence)))


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """(n,) mono samples at 16 kHz in [-1, 1], n > 0; other rates are resampled.

    Raises :class:`CorpusError` for a damaged or empty recording.
    """
    try:
        samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise CorpusError(f"{clip.path} cannot be read: copy it from its corpus again") from error
    if not len(samples):
        raise CorpusError(f"{clip.path} holds no sound: copy it from its corpus again")
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if rate != 16_000:
        import soxr

        mono = soxr.resample(mono, rate, 16_000).astype(np.float32)
    return mono
