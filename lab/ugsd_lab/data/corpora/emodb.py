"""EMO-DB: German, ten actors, seven emotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip, Split

__all__ = ["load_emodb"]

_EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fearful",
    "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_MALE = {"03", "10", "11", "12", "15"}
_HELD_OUT: dict[str, Split] = {"13": "dev", "14": "calibration", "15": "test", "16": "test"}
_SENTENCES = {
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


def load_emodb(folder: Path) -> Iterator[Clip]:
    """Load EMO-DB, Burkhardt et al. 2005. ``03a01Fa``: speaker, text, emotion, version."""
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".wav", ".flac", ".opus"}):
        name = path.stem
        speaker, text, emotion = name[:2], name[2:5], name[5]
        yield Clip(
            path=path,
            corpus="emodb",
            speaker=speaker,
            gender="male" if speaker in _MALE else "female",
            language="German",
            emotion=_EMOTIONS[emotion],
            intensity=None,
            sentence=_SENTENCES[text],
            split=_HELD_OUT.get(speaker, "train"),
        )
