"""Corpora of emotional speech: clips, labels, and the split by speaker.

EMO-DB (CC0) travels with the package as Opus; other corpora are read from a folder the user gives.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from ugsd_lab.errors import CorpusError

__all__ = [
    "BUNDLED_EMODB",
    "CORPORA",
    "EMOTIONS",
    "SPLITS",
    "Clip",
    "Split",
    "load_corpora",
    "load_corpus",
    "read_samples",
]

EMOTIONS = (
    "neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "bored",
)  # fmt: skip
"""Every emotion that some corpus names; each corpus has its own subset."""

Split = Literal["train", "dev", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "calibration", "test")

BUNDLED_EMODB = Path(__file__).parent / "emodb"

_VOWELS = re.compile("[aeiouyäöüąęó]+", re.IGNORECASE)


@dataclass(frozen=True)
class Clip:
    """One recording and what its corpus says of it."""

    path: Path
    corpus: str
    speaker: str
    gender: Literal["female", "male"]
    language: str
    emotion: str
    intensity: Literal["normal", "strong"] | None
    sentence: str
    """What was said. It measures pace and groups clips; it never enters a caption."""
    split: Split

    @property
    def id(self) -> str:
        """Name within the corpora: ``emodb/03a01Fa``."""
        return f"{self.corpus}/{self.path.stem}"

    @property
    def syllables(self) -> int:
        """Vowel groups of the sentence, the usual estimate of its syllables."""
        return max(1, len(_VOWELS.findall(self.sentence)))


def _split(held_out: dict[str, Split], speaker: str) -> Split:
    return held_out.get(speaker, "train")


_EMODB_EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fearful",
    "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_EMODB_MALE = {"03", "10", "11", "12", "15"}
_EMODB_HELD_OUT: dict[str, Split] = {
    "13": "dev", "14": "calibration", "15": "test", "16": "test",
}  # fmt: skip
_EMODB_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def _emodb(folder: Path) -> Iterator[Clip]:
    """Burkhardt et al. 2005. ``03a01Fa``: speaker, text, emotion, version."""
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".wav", ".flac", ".opus"}):
        name = path.stem
        speaker, text, emotion = name[:2], name[2:5], name[5]
        yield Clip(
            path=path,
            corpus="emodb",
            speaker=speaker,
            gender="male" if speaker in _EMODB_MALE else "female",
            language="German",
            emotion=_EMODB_EMOTIONS[emotion],
            intensity=None,
            sentence=_EMODB_SENTENCES[text],
            split=_split(_EMODB_HELD_OUT, speaker),
        )


_RAVDESS_EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgusted", "08": "surprised",
}  # fmt: skip
_RAVDESS_HELD_OUT: dict[str, Split] = {
    "17": "dev", "18": "dev", "19": "calibration", "20": "calibration",
    "21": "test", "22": "test", "23": "test", "24": "test",
}  # fmt: skip
_RAVDESS_SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}


def _ravdess(folder: Path) -> Iterator[Clip]:
    """Livingstone & Russo 2018, speech. ``03-01-EM-INT-ST-REP-ACT``; odd actors are male."""
    for path in sorted(p for p in folder.rglob("03-01-*") if p.suffix in {".wav", ".flac"}):
        _, _, emotion, intensity, statement, _, actor = path.stem.split("-")
        yield Clip(
            path=path,
            corpus="ravdess",
            speaker=actor,
            gender="male" if int(actor) % 2 else "female",
            language="English",
            emotion=_RAVDESS_EMOTIONS[emotion],
            intensity="strong" if intensity == "02" else "normal",
            sentence=_RAVDESS_SENTENCES[statement],
            split=_split(_RAVDESS_HELD_OUT, actor),
        )


_NEMO_EMOTIONS = {
    "anger": "angry", "fear": "fearful", "happiness": "happy",
    "neutral": "neutral", "sadness": "sad", "surprised": "surprised",
}  # fmt: skip
_NEMO_HELD_OUT: dict[str, Split] = {
    "SM0": "dev", "TP0": "calibration", "KS0": "test", "WR0": "test",
}  # fmt: skip


def _nemo(folder: Path) -> Iterator[Clip]:
    """Christop 2024. ``data.tsv`` names file, emotion, text, speaker, gender and age."""
    with (folder / "data.tsv").open(encoding="utf-8", newline="") as file:
        rows = {
            row["file_id"].removesuffix(".wav"): row for row in csv.DictReader(file, delimiter="\t")
        }
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".wav", ".opus"}):
        row = rows[path.stem]
        speaker = row["speaker_id"].strip()
        yield Clip(
            path=path,
            corpus="nemo",
            speaker=speaker,
            gender="male" if row["gender"].strip() == "male" else "female",
            language="Polish",
            emotion=_NEMO_EMOTIONS[row["emotion"].strip()],
            intensity=None,
            sentence=row["normalized_text"].strip(),
            split=_split(_NEMO_HELD_OUT, speaker),
        )


_LOADERS = {"emodb": _emodb, "ravdess": _ravdess, "nemo": _nemo}
CORPORA = tuple(_LOADERS)


def load_corpus(name: str, folder: Path) -> list[Clip]:
    """Every clip of a corpus below ``folder``. Raises :class:`CorpusError` where its layout is not
    the published one."""
    if name not in _LOADERS:
        raise CorpusError(f"unknown corpus {name!r}; known: {', '.join(CORPORA)}")
    try:
        clips = list(_LOADERS[name](folder))
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise CorpusError(
            f"{folder} does not have the published layout of {name}: {error}"
        ) from error
    if not clips:
        raise CorpusError(f"no clips of {name} in {folder}")
    return clips


def load_corpora(data: Path | None) -> list[Clip]:
    """EMO-DB as bundled and, where ``data`` is given, each other known corpus in a folder of its
    name below it."""
    clips = load_corpus("emodb", BUNDLED_EMODB)
    if data is None:
        return clips
    others = [name for name in CORPORA if name != "emodb" and (data / name).is_dir()]
    if not others:
        raise CorpusError(f"no corpus folder in {data}; expected one of {', '.join(CORPORA[1:])}")
    for name in others:
        clips += load_corpus(name, data / name)
    return clips


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """(n,) mono samples at 16 kHz in [-1, 1]; every supported corpus is published or bundled so.

    Raises :class:`CorpusError` for a damaged recording.
    """
    try:
        samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise CorpusError(f"{clip.path} cannot be read: copy it from its corpus again") from error
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if rate != 16_000:
        import soxr

        mono = soxr.resample(mono, rate, 16_000).astype(np.float32)
    return mono
