"""Captions of recordings written by people, in the published files of SECap, EMER and OV-MERD.

They are read from one file and one folder of recordings, to compare captions with what listeners
wrote. To evaluate on SECap or MER2024 as corpora, see :mod:`ugsd_lab.data.corpora`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ugsd_lab.data.corpora.layout import find_recording, read_table
from ugsd_lab.errors import CorpusError

__all__ = ["HumanCaption", "read_human_captions"]

_MAX_BYTES = 64 * 2**20
_MAX_CAPTIONS = 200_000
_MAX_CHARACTERS = 20_000
_COLUMNS = ("english", "reason", "caption")
"""Columns of descriptions: of EMER, of OV-MERD, and of other tables."""


@dataclass(frozen=True)
class HumanCaption:
    """A recording and what people wrote about it."""

    path: Path
    text: str


def read_human_captions(file: Path, audio: Path, *, limit: int | None = None) -> list[HumanCaption]:
    """Return the captions in ``file``, in its order, whose recordings are in the folder ``audio``;
    at most the first ``limit``.

    - ``.json``: an object of captions by name, as SECap's ``fid2captions.json`` (Chinese);
    - ``.tsv`` or ``.txt``: a line per recording, its name, a tab, and the caption;
    - ``.csv``: columns ``name`` and ``english`` (EMER's ``final-EMER-reason.csv``) or ``reason``
      (OV-MERD's ``track3_train_ovmerd.csv``) or ``caption``.

    Raises :class:`CorpusError` for a file of another layout, above 64 MB or 200,000 captions, or
    without captions, and for a recording that is missing.
    """
    texts = _texts(file)
    if not texts:
        raise CorpusError(f"{file} holds no captions: copy it from its corpus")
    if len(texts) > _MAX_CAPTIONS:
        raise CorpusError(f"{file} holds more than {_MAX_CAPTIONS:,} captions: split it")
    out = []
    for name, text in list(texts.items())[:limit]:
        if not text or len(text) > _MAX_CHARACTERS:
            raise CorpusError(
                f"{file}: the caption of {name!r} is empty or longer than {_MAX_CHARACTERS:,} "
                "characters: correct it, or take it out"
            )
        out.append(HumanCaption(find_recording(audio, _stem(name)), text))
    return out


def _stem(name: str) -> str:
    return name.removesuffix(".wav")


def _texts(file: Path) -> Mapping[str, str]:
    readers = {".json": _json, ".tsv": _lines, ".txt": _lines, ".csv": _table}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise CorpusError(f"{file}: captions are read from {', '.join(readers)}: name such a file")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise CorpusError(f"{file} is larger than {_MAX_BYTES // 2**20} MB: split it")
        return reader(file)
    except FileNotFoundError as error:
        raise CorpusError(f"{file} is missing: copy it from its corpus") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file} cannot be read: copy it from its corpus ({error})") from error


def _json(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text("utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(f"{file} is not JSON: copy it from its corpus") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise CorpusError(f"{file} does not map names to captions: copy it from its corpus")
    return {name: text.strip() for name, text in found.items()}


def _lines(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if not tab:
            raise CorpusError(f"{file}, line {number}: no tab between a name and its caption")
        found[name.strip()] = text.strip()
    return found


def _table(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        header = [name.strip().strip('"') for name in opened.readline(_MAX_CHARACTERS).split(",")]
    column = next((name for name in _COLUMNS if name in header), _COLUMNS[0])
    return {row["name"]: row[column] for row in read_table(file, ("name", column))}
