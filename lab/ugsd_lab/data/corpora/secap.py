"""SECap: Mandarin, captions of emotion written by human listeners."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import Clip
from ugsd_lab.data.corpora.layout import find_recording
from ugsd_lab.errors import CorpusError

__all__ = ["load_secap"]

_SERIES = re.compile(r"tx_(?:emotion_\d{3}|xiao_\d{5}|emulate_\d{2}_\d{3})")


def load_secap(folder: Path) -> Iterator[Clip]:
    """Load SECap, Xu et al. 2024, doi:10.1609/aaai.v38i17.29902. ``folder`` is a copy of the
    repository thuhcsi/SECap or of its folder ``dataset``; three parts of it are read.

    - ``fid2captions.json``: a Chinese caption per clip.
    - ``text.txt``: a clip's name, then its words.
    - ``wav/tx_emotion_00201000015.wav``.

    There are no emotion classes. Speakers are not named: the recording series with which a clip's
    name begins stands for its speaker (``tx_emotion_002``), else its whole name.

    The release is the paper's test set: all clips are test.
    """
    base = folder / "dataset" if (folder / "dataset").is_dir() else folder
    sentences = _sentences(base / "text.txt")
    for name, caption in _captions(base / "fid2captions.json").items():
        series = _SERIES.match(name)
        if name not in sentences:
            raise CorpusError(f"{base / 'text.txt'} lacks {name!r}: copy it from the corpus")
        yield Clip(
            path=find_recording(base / "wav", name),
            corpus="secap",
            speaker=series[0] if series else name,
            gender=None,
            language="Chinese",
            emotion=None,
            intensity=None,
            sentence=sentences[name],
            split="test",
            captions=(caption,),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CorpusError(f"{path} is missing: copy it from the corpus") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: copy it from the corpus ({error})") from error


def _captions(path: Path) -> dict[str, str]:
    try:
        captions = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON: copy it from the corpus") from error
    if not isinstance(captions, dict) or not all(isinstance(v, str) for v in captions.values()):
        raise CorpusError(f"{path} does not map names to captions: copy it from the corpus")
    return captions


def _sentences(path: Path) -> dict[str, str]:
    sentences: dict[str, str] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            name, *sentence = line.split(maxsplit=1)
            if not sentence:
                raise CorpusError(f"{path}, line {number}: no words after {name!r}")
            sentences[name] = sentence[0].strip()
    return sentences
