"""TESS: Canadian English, a younger and an older actress, seven emotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip
from ugsd_lab.data.corpora.layout import meaning, name_parts, recordings

__all__ = ["load_tess"]

_EMOTIONS = {
    "angry": "angry", "disgust": "disgusted", "fear": "fearful", "happy": "happy",
    "neutral": "neutral", "ps": "surprised", "sad": "sad",
}  # fmt: skip
_SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}


def load_tess(folder: Path) -> Iterator[Clip]:
    """Load TESS, Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF. ``OAF_back_ps.wav``:
    actress, word, emotion, in any folders; ``ps`` is pleasant surprise. One file, published as
    ``OA_bite_neutral``, belongs to the older actress. The word is spoken in the phrase "Say the
    word back".

    Two speakers cannot be split: both are test.
    """
    for name, path in recordings(folder).items():
        speaker, word, emotion = name_parts(name, "speaker_word_emotion", path)
        yield Clip(
            path=path,
            corpus="tess",
            speaker=meaning(speaker, _SPEAKERS, path),
            gender="female",
            language="English",
            emotion=meaning(emotion, _EMOTIONS, path),
            intensity=None,
            sentence=f"Say the word {word}.",
            split="test",
        )
