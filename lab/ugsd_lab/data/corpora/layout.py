"""Reads the published form of a corpus: tables, file names, recordings."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ugsd_lab.errors import CorpusError

__all__ = ["find_recording", "meaning", "name_parts", "read_table", "recordings"]

_SUFFIXES = (".wav", ".flac", ".opus")
_T = TypeVar("_T")


def read_table(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a UTF-8 table with the ``columns`` named, stripped of surrounding blanks.

    Raises :class:`CorpusError` for a table that is missing, damaged or lacks a column or a cell.
    """
    rows: list[dict[str, str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise CorpusError(f"{path} lacks the columns {missing}: copy it from its corpus")
            for row in reader:
                cells = {name: row[name] for name in columns}
                if None in cells.values():
                    raise CorpusError(
                        f"{path}, line {reader.line_num}: too few cells; copy it from its corpus"
                    )
                rows.append({name: cell.strip() for name, cell in cells.items()})
    except FileNotFoundError as error:
        raise CorpusError(f"{path} is missing: copy it from its corpus") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read: copy it from its corpus ({error})") from error
    return rows


def meaning(code: str, of: Mapping[str, _T], where: Path) -> _T:
    """Return the meaning of a code in a file name or a table. Raises :class:`CorpusError` naming
    ``where`` for an unknown code."""
    if code not in of:
        raise CorpusError(f"{where}: unknown code {code!r}; known: {', '.join(of)}")
    return of[code]


def name_parts(name: str, pattern: str, where: Path) -> list[str]:
    """Split a name such as ``speaker_word_emotion`` into as many parts as ``pattern`` has."""
    parts = name.split("_")
    if len(parts) != pattern.count("_") + 1:
        raise CorpusError(f"{where}: {name!r} is not of the form {pattern}")
    return parts


def find_recording(folder: Path, name: str) -> Path:
    """Return the recording called ``name``, in any known format. Raises :class:`CorpusError` if
    there is none."""
    if not name or Path(name).name != name:
        raise CorpusError(f"{folder}: {name!r} is not the name of a recording")
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise CorpusError(
        f"{folder / name}.wav is missing (.flac and .opus too), but a table lists it: copy it from "
        "its corpus, or take its row out of the table"
    )


def recordings(
    folder: Path, name_of: Callable[[Path], str] = lambda path: path.stem
) -> dict[str, Path]:
    """Return every recording below ``folder`` by name. Raises :class:`CorpusError` if two have the
    same name."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("[!.]*") if p.suffix in _SUFFIXES):
        name = name_of(path)
        if name in found:
            raise CorpusError(f"{path} and {found[name]} are the same clip: keep one of them")
        found[name] = path
    return found
