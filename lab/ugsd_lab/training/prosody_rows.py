"""Recordings measured twice, by the device and by the lab, and whether the device was right."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute
from ugsd_sdk.attributes.measured import LONG_PAUSE_S, QUALITIES, measured_attributes
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.prosody.norms import LevelNorm, ProsodyNorms
from ugsd_sdk.prosody.prosody import Prosody

from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.prosody import Measures, measure_all
from ugsd_lab.data.reference_prosody import ReferenceProsody, measure_reference
from ugsd_lab.data.speech import measure_prosody
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable

__all__ = ["ProsodyRow", "agreement", "balanced", "measure_rows", "right_values"]

_CLEAR = 4.0
"""Log-odds of a voice that clearly sounds female."""
_NOTICED_DB = 3.0
_NOTICED_ST = 2.0
_UNJUDGED = ("faster", "slower")
"""No corpus says when each syllable was spoken."""
_FREQUENT = 3
_LEVELS = ("low", "mid", "high")
_THIRDS = ("early", "middle", "late")


@dataclass(frozen=True)
class ProsodyRow:
    """One recording, by the device and by the lab."""

    clip: Clip
    device: Prosody
    measures: Measures
    reference: ReferenceProsody

    def attributes(self, norms: ProsodyNorms) -> dict[Slot, Attribute]:
        """Return the device's attributes by ``norms``, if it knows the speaker's gender."""
        femininity = {"female": _CLEAR, "male": -_CLEAR}.get(self.clip.gender or "")
        return measured_attributes(self.device, femininity, norms)


def balanced(clips: Sequence[Clip], count: int, seed: int) -> list[Clip]:
    """Return up to ``count`` clips, as many of each speaker as possible."""
    by_speaker: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        by_speaker[clip.corpus, clip.speaker].append(clip)
    each = count // max(1, len(by_speaker))
    lots = random.Random(seed)  # noqa: S311
    return [
        clip
        for _, own in sorted(by_speaker.items())
        for clip in lots.sample(own, min(each, len(own)))
    ]


def measure_rows(clips: Sequence[Clip], work: Path, progress: Progress) -> list[ProsodyRow]:
    """Measure ``clips`` by the device and by the lab, whose slow measures are stored in ``work``.

    Clips without a voice are left out. Raises :class:`~ugsd_lab.errors.CorpusError`.
    """
    measures = measure_all(
        clips, work / "measures.json", lambda done, of: progress("measuring", done, of, "")
    )
    cache = work / "prosody-references.json"
    known = json.loads(cache.read_text("utf-8")) if cache.exists() else {}
    rows = []
    for done, clip in enumerate(clips, 1):
        samples = read_samples(clip)
        if clip.id not in known:
            known[clip.id] = asdict(measure_reference(samples))
        device = measure_prosody(samples)
        if device is not None:
            reference = ReferenceProsody(**known[clip.id])
            rows.append(ProsodyRow(clip, device, measures[clip.id], reference))
        progress("prosody", done, len(clips), "")
    cache.write_text(json.dumps(known, sort_keys=True), "utf-8")
    return rows


def right_values(row: ProsodyRow, slot: Slot, norms: ProsodyNorms) -> frozenset[str] | None:
    """Return the values of ``slot`` that are right by the lab's measures; ``None`` if it could not
    measure any."""
    measures = row.measures
    gender = row.clip.gender
    pitch = norms.pitch_st_female if gender == "female" else norms.pitch_st_male
    levels: dict[Slot, tuple[float, LevelNorm]] = {
        Slot.LOUDNESS: (measures.tilt_db, norms.effort_db),
        Slot.PACE: (measures.pace, norms.pace),
        Slot.PITCH: (measures.pitch_st if gender else math.nan, pitch),
        Slot.VARIATION: (measures.pitch_sd_st, norms.variation_st),
    }
    if slot in levels:
        level = _level(*levels[slot])
        right = level and SLOT_VALUES[slot][_LEVELS.index(level)]
    elif slot is Slot.QUALITY:
        clarity = _level(measures.cpp_db, norms.clarity_db)
        effort = _level(*levels[Slot.LOUDNESS])
        right = QUALITIES[clarity, effort] if clarity and effort else None
    elif slot is Slot.PAUSES:
        right = _pauses(row.reference)
    elif slot is Slot.CHANGE:
        return _changes(row.reference)
    else:
        right = _THIRDS[min(2, int(3 * row.reference.emphasis_place))]
    return None if right is None else frozenset({right})


def agreement(rows: Sequence[ProsodyRow], norms: ProsodyNorms) -> TextTable:
    """Return, by slot and corpus, how many recordings the device has a value for, how often it is
    right, how many values are certain enough to be worded, and how often those are right."""
    corpora = sorted({row.clip.corpus for row in rows})
    attributes = [row.attributes(norms) for row in rows]
    cells = []
    for slot in attributes[0] if attributes else ():
        for corpus in ("all", *corpora):
            judged = [
                (own[slot].value in right, (own[slot].confidence or 0) >= SAID_ABOVE)
                for row, own in zip(rows, attributes, strict=True)
                if corpus in {"all", row.clip.corpus}
                and own[slot].value not in {None, *_UNJUDGED}
                and (right := right_values(row, slot, norms)) is not None
            ]
            said = [is_right for is_right, is_said in judged if is_said]
            everything = [is_right for is_right, _ in judged]
            cells.append(
                [slot.value, corpus, str(len(judged)), _share(everything), str(len(said)),
                 _share(said)]
            )  # fmt: skip
    header = ["slot", "corpus", "measured", "right", "worded", "precision"]
    return TextTable(header, cells, left={"slot", "corpus"})


def _share(flags: Sequence[bool]) -> str:
    return f"{sum(flags) / len(flags):.3f}" if flags else "-"


def _level(value: float, norm: LevelNorm) -> str | None:
    if math.isnan(value):
        return None
    return _LEVELS[0 if value < norm.low else 2 if value > norm.high else 1]


def _pauses(reference: ReferenceProsody) -> str:
    if not reference.pauses:
        return "none"
    start, end = max(reference.pauses, key=lambda pause: pause[1] - pause[0])
    if end - start < LONG_PAUSE_S:
        return "frequent" if len(reference.pauses) >= _FREQUENT else "brief"
    place = (start - reference.start_s) / (reference.end_s - reference.start_s)
    return f"long_{_THIRDS[min(2, int(3 * place))]}"


def _changes(reference: ReferenceProsody) -> frozenset[str]:
    """Return the changes that the lab can measure, which that of pace is not."""
    sizes = {
        ("louder", "quieter"): (reference.level_change_db, _NOTICED_DB),
        ("higher", "lower"): (reference.pitch_change_st, _NOTICED_ST),
        ("raised_end", ""): (reference.final_pitch_st, _NOTICED_ST),
    }
    there = {
        name
        for (more, less), (size, noticed) in sizes.items()
        for name, is_there in ((more, size >= noticed), (less, -size >= noticed))
        if name and is_there
    }
    return frozenset(there or {"steady"})
