"""Fits the norms of the device's prosody: what is usual, and how far the device's measures are off.

What is low and high comes from the lab's measures of training speakers, who all count alike,
whatever their corpus, their language and their microphone. The device's errors are its differences
from the lab's measures. Where they are not normal, they are widened until nine in ten of the values
that the device is nine-tenths sure of are right, in each corpus.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.attributes.attribute import SAID_ABOVE
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.prosody.norms import (
    ChangeNorm,
    EmphasisNorm,
    LevelNorm,
    PauseNorm,
    ProsodyNorms,
)

from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.training.prosody_rows import ProsodyRow, balanced, measure_rows, right_values

__all__ = ["fit_norms", "fit_prosody_norms", "write_norms"]

Float64 = NDArray[np.float64]
_Number = Callable[[ProsodyRow], float | None]

_QUARTILES = (0.25, 0.75)
_PRECISION = 0.93
"""Least share of right values among certain ones, in all corpora; in each one, slightly less."""
_CORPUS_PRECISION = 0.9
_MIN_CLIPS = 15
_WIDER = 1.12
_MAX_WIDENINGS = 24
_OUTLIER_SDS = 4
_MORE_OUTLIERS = 0.01
_DIGITS = 4


def fit_prosody_norms(
    data: Path,
    work: Path,
    progress: Progress = lambda *_: None,
    *,
    train_clips: int = 900,
    dev_clips: int = 300,
    seed: int = 0,
) -> ProsodyNorms:
    """Fit the norms to clips of the corpora in ``data``, as many of each speaker as possible.

    Slow measures are stored in ``work``. Raises :class:`~ugsd_lab.errors.CorpusError`, and
    :class:`TrainingError` for corpora with too little to fit.
    """
    clips = load_corpora(data)
    chosen = [
        clip
        for split, count in (("train", train_clips), ("dev", dev_clips))
        for clip in balanced([c for c in clips if c.split == split], count, seed)
    ]
    work.mkdir(parents=True, exist_ok=True)
    return fit_norms(measure_rows(chosen, work, progress))


def write_norms(norms: ProsodyNorms, path: Path) -> None:
    """Write ``norms.json``."""
    path.write_text(norms.model_dump_json(indent=1) + "\n", "utf-8")


def fit_norms(rows: Sequence[ProsodyRow]) -> ProsodyNorms:
    """Fit the norms to recordings of training and development speakers.

    Raises :class:`TrainingError` if there are too few.
    """
    train = [row for row in rows if row.clip.split == "train"]
    dev = [row for row in rows if row.clip.split == "dev"]
    if min(len(train), len(dev)) < _MIN_CLIPS:
        raise TrainingError(
            "norms need clips of training and of development speakers: give more corpora"
        )
    by_gender = {
        gender: ([r for r in train if r.clip.gender == gender], dev)
        for gender in ("female", "male")
    }
    norms = ProsodyNorms(
        format=1,
        effort_db=_level(train, dev, lambda r: r.device.effort_db, lambda r: r.measures.tilt_db),
        pace=_level(train, dev, lambda r: r.device.pace, lambda r: r.measures.pace),
        variation_st=_level(
            train, dev, lambda r: r.device.variation_st, lambda r: r.measures.pitch_sd_st
        ),
        clarity_db=_level(train, dev, lambda r: r.device.clarity_db, lambda r: r.measures.cpp_db),
        pitch_st_female=_level(*by_gender["female"], _device_pitch, lambda r: r.measures.pitch_st),
        pitch_st_male=_level(*by_gender["male"], _device_pitch, lambda r: r.measures.pitch_st),
        level_change_db=_change(
            train, dev, lambda r: _changes(r, "level_db"), lambda r: r.reference.level_change_db
        ),
        pitch_change_st=_change(
            train, dev, lambda r: _changes(r, "pitch_st"), lambda r: r.reference.pitch_change_st
        ),
        final_pitch_st=_change(
            train,
            dev,
            lambda r: _changes(r, "final_pitch_st"),
            lambda r: r.reference.final_pitch_st,
        ),
        pace_change=_pace_change(train, dev),
        pauses=_pauses(rows),
        emphasis=EmphasisNorm(sd_db=0.5),
    )
    for slot, values, fields in _WIDENED:
        norms = _widened(rows, norms, slot, values, fields)
    return norms


_WIDENED: tuple[tuple[Slot, frozenset[str] | None, tuple[str, ...]], ...] = (
    (Slot.LOUDNESS, None, ("effort_db",)),
    (Slot.PACE, None, ("pace",)),
    (Slot.PITCH, None, ("pitch_st_female", "pitch_st_male")),
    (Slot.VARIATION, None, ("variation_st",)),
    (Slot.QUALITY, None, ("clarity_db",)),
    (Slot.EMPHASIS, None, ("emphasis",)),
    (Slot.CHANGE, frozenset({"louder", "quieter"}), ("level_change_db",)),
    (Slot.CHANGE, frozenset({"higher", "lower"}), ("pitch_change_st",)),
    (Slot.CHANGE, frozenset({"raised_end"}), ("final_pitch_st",)),
    (Slot.CHANGE, frozenset({"steady"}), ("level_change_db", "pitch_change_st", "final_pitch_st")),
    (
        Slot.PAUSES,
        frozenset({"brief", "frequent", "long_early", "long_middle", "long_late"}),
        ("pauses",),
    ),
)
"""The norms whose errors grow until the values of a slot are calibrated; ``None`` for all."""


def _pairs(
    rows: Sequence[ProsodyRow], device: _Number, reference: _Number
) -> tuple[Float64, Float64]:
    """Return both measures (n,) of the recordings in which both could be measured."""
    found = [
        (own, other)
        for row in rows
        if (own := device(row)) is not None
        and (other := reference(row)) is not None
        and math.isfinite(other)
    ]
    if len(found) < 2:
        raise TrainingError("too few recordings have a measure: give more of them")
    own, other = np.array(found, np.float64).T
    return own, other


def _level(
    train: Sequence[ProsodyRow], dev: Sequence[ProsodyRow], device: _Number, reference: _Number
) -> LevelNorm:
    own, other = _pairs(train, device, reference)
    low, high = np.quantile(other, _QUARTILES)
    slope, offset = _robust_line(own, other)
    own, other = _pairs(dev, device, reference)
    sd = _spread(other - (slope * own + offset))
    return LevelNorm(
        low=_rounded(low), high=_rounded(high), slope=_rounded(slope), offset=_rounded(offset),
        sd=_rounded(sd),
    )  # fmt: skip


def _robust_line(own: Float64, other: Float64) -> tuple[float, float]:
    """Return the line of least squares through the points (n,), without the two in a hundred that
    are farthest from it."""
    slope, offset = np.polyfit(own, other, 1)
    off = np.abs(other - (slope * own + offset))
    near = off <= np.quantile(off, 0.98)
    slope, offset = np.polyfit(own[near], other[near], 1)
    return float(slope), float(offset)


def _spread(errors: Float64) -> float:
    """Return the standard deviation of the two thirds of ``errors`` (n,) in the middle: outliers
    count when the errors are widened."""
    low, high = np.quantile(errors, (0.1587, 0.8413))
    return float(high - low) / 2


def _change(
    train: Sequence[ProsodyRow], dev: Sequence[ProsodyRow], device: _Number, reference: _Number
) -> ChangeNorm:
    _, other = _pairs(train, device, reference)
    low, high = np.quantile(other, _QUARTILES)
    own, other = _pairs(dev, device, reference)
    sd = max(0.1, _spread(other - own))
    outliers = float(np.mean(np.abs(other - own) > _OUTLIER_SDS * sd))
    return ChangeNorm(
        low=_rounded(low), high=_rounded(high), sd=_rounded(sd), outliers=_rounded(outliers)
    )


def _pace_change(train: Sequence[ProsodyRow], dev: Sequence[ProsodyRow]) -> ChangeNorm:
    """Return the norm of the change of pace, whose truth is not known: no corpus says when each
    syllable was spoken. The error of a pace shrinks with the square root of the speech."""
    changes = [c for row in train if (c := _changes(row, "pace")) is not None]
    low, high = np.quantile(changes, _QUARTILES)
    own, other = _pairs(
        dev,
        lambda r: None if r.device.pace is None else r.device.pace * math.sqrt(r.device.speech_s),
        lambda r: r.measures.pace * math.sqrt(r.device.speech_s),
    )
    sd = float(np.std(other - own)) * math.sqrt(2)
    return ChangeNorm(low=_rounded(low), high=_rounded(high), sd=_rounded(sd), outliers=0)


def _pauses(rows: Sequence[ProsodyRow]) -> PauseNorm:
    """Return the norm of pauses, whose shares count one case more than was seen."""
    without = [row for row in rows if not row.device.pauses]
    with_some = [row for row in rows if row.device.pauses]
    missed = sum(bool(row.reference.pauses) for row in without)
    false = sum(not row.reference.pauses for row in with_some)
    return PauseNorm(
        duration_sd_s=0.05,
        missed=_rounded((missed + 1) / (len(without) + 2)),
        false=_rounded((false + 1) / (len(with_some) + 2)),
    )


def _widened(
    rows: Sequence[ProsodyRow],
    norms: ProsodyNorms,
    slot: Slot,
    values: frozenset[str] | None,
    fields: Sequence[str],
) -> ProsodyNorms:
    """Return ``norms`` with the errors of ``fields`` enlarged as far as needed."""
    for _ in range(_MAX_WIDENINGS):
        if _is_calibrated(rows, norms, slot, values):
            break
        is_change = values is not None and "steady" not in values
        norms = norms.model_copy(
            update={name: _wider(getattr(norms, name), is_change) for name in fields}
        )
    return norms


def _wider(norm: LevelNorm | ChangeNorm | PauseNorm | EmphasisNorm, is_change: bool) -> object:
    """Return a norm with larger errors. Those of a change are outliers, which no wider normal
    distribution describes."""
    if is_change and isinstance(norm, ChangeNorm):
        more = min(1.0, norm.outliers + _MORE_OUTLIERS)
        return norm.model_copy(update={"outliers": _rounded(more)})
    name = next(name for name in type(norm).model_fields if "sd" in name)
    return norm.model_copy(update={name: _rounded(getattr(norm, name) * _WIDER)})


def _is_calibrated(
    rows: Sequence[ProsodyRow], norms: ProsodyNorms, slot: Slot, values: frozenset[str] | None
) -> bool:
    by_corpus: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        own = row.attributes(norms)[slot]
        is_said = own.value is not None and (own.confidence or 0) >= SAID_ABOVE
        right = right_values(row, slot, norms) if is_said else None
        if right is not None and (values is None or own.value in values):
            by_corpus[row.clip.corpus].append(own.value in right)
    everything = [flag for flags in by_corpus.values() for flag in flags]
    return _holds(everything, _PRECISION) and all(
        _holds(flags, _CORPUS_PRECISION) for flags in by_corpus.values()
    )


def _holds(flags: Sequence[bool], precision: float) -> bool:
    wrong = len(flags) - sum(flags)
    return wrong <= max(1, (1 - precision) * len(flags))


def _device_pitch(row: ProsodyRow) -> float | None:
    return row.device.pitch_st


def _changes(row: ProsodyRow, name: str) -> float | None:
    changes = row.device.changes
    value: float | None = None if changes is None else getattr(changes, name)
    return value


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
