"""Everything known about one clip: labels, measures, levels, and the resulting captions."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ugsd_lab.data.captions import references
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.prosody import Norms, measure
from ugsd_lab.errors import CorpusError
from ugsd_lab.tables import TextTable, print_tables, widen

__all__ = ["ClipSheet", "MeasureRow", "as_json", "find_clip", "print_sheet", "sheet_of"]

_WORDED = {
    "pitch_st": ("pitch", "median pitch", "semitones above 100 Hz"),
    "pitch_sd_st": ("variation", "variation of pitch", "semitones"),
    "tilt_db": ("loudness", "energy above 1 kHz", "dB over energy below"),
    "pace": ("pace", "rate of speech", "syllables/s without pauses"),
    "pause_share": ("pauses", "pauses", "share of the time"),
    "cpp_db": ("clarity", "cepstral peak", "dB over the trend"),
}
"""Field of ``Measures`` -> field of ``Levels``, name, unit."""


@dataclass(frozen=True)
class MeasureRow:
    """One measure and the reference group that its level is relative to."""

    name: str
    value: float
    """NaN if it could not be measured."""
    unit: str
    group: str
    low: float
    """Upper end of "low" in the group."""
    high: float
    """Lower end of "high" in the group."""
    attribute: str
    """The attribute that captions name: ``pitch``, ``loudness``."""
    level: str


@dataclass(frozen=True)
class ClipSheet:
    """A clip with everything that its captions are generated from."""

    clip: Clip
    level_db: float
    """Relative to full scale. It depends on the recording's gain, so captions do not mention it."""
    measures: tuple[MeasureRow, ...]
    quality: str
    references: tuple[str, ...]


def find_clip(clips: Sequence[Clip], wanted: str) -> Clip:
    """Return the clip with an id (``emodb/03a01Fa``), a bare name, or the path of a recording,
    which is then read from that path. Raises :class:`CorpusError` if there is none, or more than
    one."""
    path = Path(wanted)
    if path.is_file():
        return _of_recording(clips, path)
    by_name: dict[str, list[Clip]] = {}
    for clip in clips:
        for name in (clip.id, clip.id.partition("/")[2]):
            by_name.setdefault(name, []).append(clip)
    found = by_name.get(wanted, [])
    if len(found) == 1:
        return found[0]
    if found:
        ids = " or ".join(clip.id for clip in found)
        raise CorpusError(f"more than one clip is called {wanted}: use {ids}")
    near = [by_name[name][0].id for name in difflib.get_close_matches(wanted, by_name, n=6)]
    meant = f"; similar names: {', '.join(dict.fromkeys(near))}" if near else ""
    read = ", ".join(dict.fromkeys(clip.corpus for clip in clips))
    raise CorpusError(
        f"no clip {wanted!r} in {read}{meant}. Name the folder of other corpora with --data"
    )


def _of_recording(clips: Sequence[Clip], path: Path) -> Clip:
    """Match a recording to its clip. A copy matches if the folders above it include its corpus."""
    whole = path.resolve()
    for clip in clips:
        copied = clip.path.stem == path.stem and clip.corpus in whole.parts
        if copied or clip.path.resolve() == whole:
            return replace(clip, path=path, name=clip.id.partition("/")[2])
    raise CorpusError(
        f"{path} belongs to none of the loaded corpora: name its corpus' folder with --data"
    )


def sheet_of(clip: Clip, norms: Norms, *, seed: int, count: int, gender: bool) -> ClipSheet:
    """Measure a clip, which takes about a second, and generate ``count`` captions. Raises
    :class:`CorpusError` for a clip that cannot be read or has no emotion label."""
    measures = measure(read_samples(clip), clip.syllables)
    levels = norms.levels(clip, measures)
    rows = []
    for field, (attribute, name, unit) in _WORDED.items():
        group, (low, high) = norms.population(clip, field)
        value, level = getattr(measures, field), getattr(levels, attribute)
        rows.append(MeasureRow(name, value, unit, group, low, high, attribute, level))
    texts = references(clip, levels, count=count, seed=seed, gender=gender)
    return ClipSheet(clip, measures.level_db, tuple(rows), levels.quality, tuple(texts))


def _labels(clip: Clip) -> dict[str, object]:
    return {
        "clip": clip.id, "corpus": clip.corpus, "split": clip.split, "speaker": clip.speaker,
        "gender": clip.gender, "language": clip.language, "emotion": clip.emotion,
        "intensity": clip.intensity, "votes": None if clip.votes is None else dict(clip.votes),
    }  # fmt: skip


def as_json(sheet: ClipSheet) -> dict[str, object]:
    """Return the JSON form; a value that could not be measured is null."""

    def row(measured: MeasureRow) -> dict[str, object]:
        fields = asdict(measured)
        return fields | {"value": None if math.isnan(measured.value) else measured.value}

    return {
        **_labels(sheet.clip),
        "measures": [row(measured) for measured in sheet.measures],
        "level_db": sheet.level_db,
        "quality": sheet.quality,
        "references": list(sheet.references),
    }


def print_sheet(sheet: ClipSheet, console: Console) -> None:
    """Print the labels, a table of measures, and the captions."""
    widen(console)
    labels = Table(box=None, show_header=False, pad_edge=False)
    for label, value in _labels(sheet.clip).items():
        labels.add_row("perceived gender" if label == "gender" else label, _cell(value))
    console.print(labels)
    measures = [
        (
            row.name, _number(row.value), row.unit, row.group,
            f"{_number(row.low)} to {_number(row.high)}", f"{row.attribute}: {row.level}",
        )
        for row in sheet.measures
    ]  # fmt: skip
    measures += [
        ("level", _number(sheet.level_db), "dB full scale", "", "", "not mentioned"),
        ("voice quality", "", "", "", "", f"quality: {sheet.quality}"),
    ]
    header = ("measure", "value", "unit", "reference group", "mid range", "in captions")
    print_tables([TextTable(header, measures)], console)
    for number, text in enumerate(sheet.references, 1):
        console.print(f"{number:2} {text}", highlight=False, soft_wrap=True)


def _number(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:.2f}"


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{emotion} {count}" for emotion, count in value.items())
    return "not known" if value is None else str(value)
