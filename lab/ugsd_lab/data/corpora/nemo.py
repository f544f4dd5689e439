"""nEMO: Polish, nine actors, six emotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip, Split
from ugsd_lab.data.corpora.layout import read_table

__all__ = ["load_nemo"]

_EMOTIONS = {
    "anger": "angry", "fear": "fearful", "happiness": "happy",
    "neutral": "neutral", "sadness": "sad", "surprised": "surprised",
}  # fmt: skip
_HELD_OUT: dict[str, Split] = {
    "SM0": "dev", "TP0": "calibration", "KS0": "test", "WR0": "test",
}  # fmt: skip
_COLUMNS = ("file_id", "emotion", "normalized_text", "speaker_id", "gender")


def load_nemo(folder: Path) -> Iterator[Clip]:
    """Load nEMO, Christop 2024. ``data.tsv`` holds file, emotion, text, speaker, gender and age."""
    table = read_table(folder / "data.tsv", _COLUMNS, delimiter="\t")
    rows = {row["file_id"].removesuffix(".wav"): row for row in table}
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".wav", ".opus"}):
        row = rows[path.stem]
        speaker = row["speaker_id"]
        yield Clip(
            path=path,
            corpus="nemo",
            speaker=speaker,
            gender="male" if row["gender"] == "male" else "female",
            language="Polish",
            emotion=_EMOTIONS[row["emotion"]],
            intensity=None,
            sentence=row["normalized_text"],
            split=_HELD_OUT.get(speaker, "train"),
        )
