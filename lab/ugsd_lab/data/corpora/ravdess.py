"""RAVDESS: English, 24 actors, eight emotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip, Split

__all__ = ["load_ravdess"]

_EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgusted", "08": "surprised",
}  # fmt: skip
_HELD_OUT: dict[str, Split] = {
    "17": "dev", "18": "dev", "19": "calibration", "20": "calibration",
    "21": "test", "22": "test", "23": "test", "24": "test",
}  # fmt: skip
_SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}


def load_ravdess(folder: Path) -> Iterator[Clip]:
    """Load RAVDESS, Livingstone & Russo 2018, speech. ``03-01-EM-INT-ST-REP-ACT``; odd actors are
    male."""
    for path in sorted(p for p in folder.rglob("03-01-*") if p.suffix in {".wav", ".flac"}):
        _, _, emotion, intensity, statement, _, actor = path.stem.split("-")
        yield Clip(
            path=path,
            corpus="ravdess",
            speaker=actor,
            gender="male" if int(actor) % 2 else "female",
            language="English",
            emotion=_EMOTIONS[emotion],
            intensity="strong" if intensity == "02" else "normal",
            sentence=_SENTENCES[statement],
            split=_HELD_OUT.get(actor, "train"),
        )
