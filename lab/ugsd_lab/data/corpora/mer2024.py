"""MER2024 and EMER: Mandarin film and television, six emotions, descriptions of some clips."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip, Split
from ugsd_lab.data.corpora.layout import find_recording, meaning, read_table
from ugsd_lab.errors import CorpusError

__all__ = ["load_mer2024"]

_EMOTIONS = {
    "neutral": "neutral", "angry": "angry", "happy": "happy", "sad": "sad",
    "worried": "fearful", "surprise": "surprised",
}  # fmt: skip
_HELD_OUT: dict[int, Split] = {0: "dev", 1: "calibration", 2: "test", 3: "test"}
_PARTS = 20


def load_mer2024(folder: Path) -> Iterator[Clip]:
    """Load MER2024, Lian et al. 2024, arXiv:2404.17113, and EMER, Lian et al. 2023,
    arXiv:2306.15401. ``folder`` holds the labelled part of the MER2024 release, EMER, or both.

    - ``label-disdim.csv``: ``name`` and ``discrete``, the emotion.
    - ``label-transcription.csv``, if present: ``name`` and ``chinese``, the checked words.
    - ``final-EMER-reason.csv``, the second version of EMER (zeroQiaoba/AffectGPT): ``name`` and
      ``english``, the description that becomes the caption. It was drafted by a language model and
      checked by people. It describes face and scene as well as voice, and quotes the words spoken:
      filter it before a voice captioner learns from it.
    - ``audio/sample_00000000.wav``: the sound of the release's videos under the same names,
      extracted as in its own preprocessing: ``ffmpeg -i sample_00000000.mp4 -ar 16000 -ac 1``.

    "worried" is read as fearful, whose captions also say "anxious": :data:`EMOTIONS` has no closer
    name. A clip that only EMER has is without emotion.

    Speakers are not named, so each clip counts as its own speaker. The split, by SHA-256 of the
    name, a twentieth each for dev and calibration and a tenth for test, may therefore separate
    clips of one actor.
    """
    labels, emer = folder / "label-disdim.csv", folder / "final-EMER-reason.csv"
    if not labels.is_file() and not emer.is_file():
        raise CorpusError(f"{labels} is missing, and {emer.name} too: copy one from its corpus")
    emotions = _column(labels, "discrete")
    captions = _column(emer, "english")
    sentences = _column(folder / "label-transcription.csv", "chinese")
    for name in dict.fromkeys([*emotions, *captions]):
        yield Clip(
            path=find_recording(folder / "audio", name),
            corpus="mer2024",
            speaker=name,
            gender=None,
            language="Chinese",
            emotion=meaning(emotions[name], _EMOTIONS, labels) if name in emotions else None,
            intensity=None,
            sentence=sentences.get(name, ""),
            split=_split(name),
            captions=(captions[name],) if captions.get(name) else (),
        )


def _column(table: Path, column: str) -> dict[str, str]:
    if not table.exists():
        return {}
    return {row["name"]: row[column] for row in read_table(table, ("name", column))}


def _split(name: str) -> Split:
    digest = hashlib.sha256(name.encode()).digest()
    return _HELD_OUT.get(int.from_bytes(digest) % _PARTS, "train")
