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
"""The union of the corpora's emotions; each corpus has its own subset."""

Split = Literal["train", "dev", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "calibration", "test")

_VOWELS = re.compile("[aeiouyäöüąęó]+", re.IGNORECASE)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class Clip:
    """One recording and its labels."""

    path: Path
    corpus: str
    speaker: str
    """The speaker; for corpora without speaker labels, the loader's substitute."""
    gender: Literal["female", "male"] | None
    """None if the corpus does not give it."""
    language: str
    emotion: str | None
    """One of :data:`EMOTIONS`; None if the corpus has no classes."""
    intensity: Literal["normal", "strong"] | None
    sentence: str
    """The words spoken; empty if the corpus does not give them. They measure pace and group clips,
    and never enter a caption."""
    split: Split
    votes: Mapping[str, int] | None = field(default=None, hash=False)
    """Listeners' answers by emotion, if the corpus has them."""
    captions: tuple[str, ...] = ()
    """Published descriptions, if the corpus has them; its loader documents their language."""
    name: str = ""
    """Name within the corpus if the file's own is not unique."""

    @property
    def id(self) -> str:
        """Name across corpora: ``emodb/03a01Fa``."""
        return f"{self.corpus}/{self.name or self.path.stem}"

    @property
    def syllables(self) -> int | None:
        """Number of vowel groups in the sentence, the usual estimate of its syllables; in Chinese,
        number of Han characters. None if the sentence is not known."""
        if not self.sentence:
            return None
        if self.language == "Chinese":
            return len(_HAN.findall(self.sentence)) or None
        return max(1, len(_VOWELS.findall(self.sentence)))


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """Return (n,) mono samples at 16 kHz in [-1, 1], n > 0; other rates are resampled.

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
