"""SAVEE: British English, four men, seven emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip
from ugsd_lab.data.corpora.layout import meaning, recordings
from ugsd_lab.errors import CorpusError

__all__ = ["load_savee"]

_EMOTIONS = {
    "a": "angry", "d": "disgusted", "f": "fearful", "h": "happy",
    "n": "neutral", "sa": "sad", "su": "surprised",
}  # fmt: skip
_NAME = re.compile(r"(DC|JE|JK|KL)_([a-z]+)\d\d")


def load_savee(folder: Path) -> Iterator[Clip]:
    """Load SAVEE, Haq & Jackson, "Multimodal Emotion Recognition", 2010; layout as in the release's
    ``AudioData/Info.txt``. ``AudioData/DC/sa03.wav``: speaker, emotion, number of the sentence;
    ``DC_sa03.wav``, in one folder, is read too.

    The release does not put the sentences in a table, so they are unknown here.

    Four speakers are too few to split: all are test.
    """
    for name, path in (
        recordings(folder / "AudioData", _name) or recordings(folder, _name)
    ).items():
        found = _NAME.fullmatch(name)
        if found is None:
            raise CorpusError(f"{path} is not named as in SAVEE: DC/sa03.wav or DC_sa03.wav")
        yield Clip(
            path=path,
            corpus="savee",
            speaker=found[1],
            gender="male",
            language="English",
            emotion=meaning(found[2], _EMOTIONS, path),
            intensity=None,
            sentence="",
            split="test",
            name=name,
        )


def _name(path: Path) -> str:
    return path.stem if "_" in path.stem else f"{path.parent.name}_{path.stem}"
