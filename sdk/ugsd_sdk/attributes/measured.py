"""The attributes that the device measures: levels compared with other speakers, pauses, changes.

A measured number and its standard error give the probability of each value, by the normal
distribution. The likeliest is the value, and its probability the confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import erf, exp, sqrt

from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.prosody.norms import LevelNorm, ProsodyNorms, load_norms
from ugsd_sdk.prosody.pauses import MIN_PAUSE_S
from ugsd_sdk.prosody.prosody import Changes, Emphasis, Prosody

__all__ = ["LONG_PAUSE_S", "QUALITIES", "measured_attributes"]

LONG_PAUSE_S = 0.7
_MIN_PAUSED_S = 1.0
"""In less, there is no room for a pause, and its absence says nothing."""
_FREQUENT = 3
"""So many pauses are frequent."""

_NOTICED_LEVEL_DB = 3.0
_NOTICED_PITCH_ST = 2.0
_NOTICED_PACE_SHARE = 0.2
"""Smaller changes are not noticed by a listener."""

QUALITIES: Mapping[tuple[str, str], str] = {
    ("low", "low"): "breathy", ("low", "mid"): "husky", ("low", "high"): "rough",
    ("mid", "low"): "muffled", ("mid", "mid"): "modal", ("mid", "high"): "strained",
    ("high", "low"): "mellow", ("high", "mid"): "clear", ("high", "high"): "clear",
}  # fmt: skip
"""Voice quality by clarity and vocal effort. Noise in a soft voice is breath, in a forceful one
roughness (Hillenbrand and Houde 1996)."""

_LEVELS = ("low", "mid", "high")
_THIRDS = ("early", "middle", "late")


def measured_attributes(
    prosody: Prosody, femininity: float | None, norms: ProsodyNorms | None = None
) -> dict[Slot, Attribute]:
    """Return the attributes of the speech that ``prosody`` measures. One that could not be measured
    has no value.

    ``femininity`` is the log-odds that the voice sounds female; ``None`` if that is unknown. Pitch
    is compared with voices of both genders, weighted by it. ``norms`` are those of the package
    unless others are given.
    """
    norms = norms or load_norms()
    effort = _levels(prosody.effort_db, norms.effort_db)
    return {
        Slot.LOUDNESS: _attribute(Slot.LOUDNESS, effort, prosody.effort_db),
        Slot.PACE: _attribute(Slot.PACE, _levels(prosody.pace, norms.pace), prosody.pace),
        Slot.PITCH: _attribute(
            Slot.PITCH, _pitch_levels(prosody.pitch_st, femininity, norms), prosody.pitch_st
        ),
        Slot.VARIATION: _attribute(
            Slot.VARIATION, _levels(prosody.variation_st, norms.variation_st), prosody.variation_st
        ),
        Slot.QUALITY: _quality(_levels(prosody.clarity_db, norms.clarity_db), effort, prosody),
        Slot.PAUSES: _pauses(prosody, norms),
        Slot.CHANGE: _change(prosody.changes, prosody, norms),
        Slot.EMPHASIS: _emphasis(prosody.emphasis, norms),
    }


def _attribute(slot: Slot, levels: tuple[float, ...] | None, measured: float | None) -> Attribute:
    """Return the attribute of a slot whose three values are low, mid and high."""
    if levels is None:
        return Attribute()
    return _likeliest(dict(zip(SLOT_VALUES[slot], levels, strict=True)), measured)


def _likeliest(distribution: dict[str, float], measured: float | None) -> Attribute:
    value = max(distribution, key=distribution.__getitem__)
    return Attribute(
        value=value,
        confidence=distribution[value],
        distribution=distribution,
        measured=measured,
    )


def _levels(measured: float | None, norm: LevelNorm) -> tuple[float, float, float] | None:
    """Return the probabilities of low, mid and high."""
    if measured is None:
        return None
    expected = norm.slope * measured + norm.offset
    low = 1 - _above(expected, norm.low, norm.sd)
    high = _above(expected, norm.high, norm.sd)
    return low, max(0.0, 1 - low - high), high


def _pitch_levels(
    measured: float | None, femininity: float | None, norms: ProsodyNorms
) -> tuple[float, ...] | None:
    female = _levels(measured, norms.pitch_st_female)
    male = _levels(measured, norms.pitch_st_male)
    if female is None or male is None:
        return None
    weight = _sigmoid(femininity or 0.0)
    return tuple(weight * f + (1 - weight) * m for f, m in zip(female, male, strict=True))


def _quality(
    clarity: tuple[float, ...] | None, effort: tuple[float, ...] | None, prosody: Prosody
) -> Attribute:
    if clarity is None or effort is None:
        return Attribute()
    distribution = dict.fromkeys(SLOT_VALUES[Slot.QUALITY], 0.0)
    for one, of_clarity in zip(_LEVELS, clarity, strict=True):
        for other, of_effort in zip(_LEVELS, effort, strict=True):
            distribution[QUALITIES[one, other]] += of_clarity * of_effort
    return _likeliest(_bounded(distribution), prosody.clarity_db)


def _pauses(prosody: Prosody, norms: ProsodyNorms) -> Attribute:
    """Return the attribute of the pauses: the longest decides."""
    norm = norms.pauses
    distribution = dict.fromkeys(SLOT_VALUES[Slot.PAUSES], 0.0)
    durations = sorted((pause.end_s - pause.start_s for pause in prosody.pauses), reverse=True)
    if not durations and prosody.end_s - prosody.start_s < _MIN_PAUSED_S:
        return Attribute()
    if not durations:
        distribution["none"], distribution["brief"] = 1 - norm.missed, norm.missed
        return _likeliest(distribution, 0.0)
    longest = max(prosody.pauses, key=lambda pause: pause.end_s - pause.start_s)
    whole_s = max(prosody.end_s - prosody.start_s, 1e-3)
    place = (longest.start_s - prosody.start_s) / whole_s
    any_pause = (1 - norm.false) * _above(durations[0], MIN_PAUSE_S, norm.duration_sd_s)
    long = any_pause * _above(durations[0], LONG_PAUSE_S, norm.duration_sd_s)
    third = durations[_FREQUENT - 1 : _FREQUENT]
    frequent = _above(third[0], MIN_PAUSE_S, norm.duration_sd_s) if third else 0.0
    distribution["none"] = 1 - any_pause
    distribution["frequent"] = (any_pause - long) * frequent
    distribution["brief"] = (any_pause - long) * (1 - frequent)
    after = [_above(place, border, norm.duration_sd_s / whole_s) for border in (1 / 3, 2 / 3)]
    shares = (1 - after[0], after[0] - after[1], after[1])
    for name, share in zip(_THIRDS, shares, strict=True):
        distribution[f"long_{name}"] = long * share
    return _likeliest(_bounded(distribution), durations[0])


def _change(changes: Changes | None, prosody: Prosody, norms: ProsodyNorms) -> Attribute:
    """Return the most certain change that a listener notices and that is not usual, or "steady" if
    it is likely that nothing changed enough to notice."""
    if changes is None:
        return Attribute()
    third_s = prosody.speech_s / 3
    pace_norm = norms.pace_change
    pace_sd = pace_norm.model_copy(update={"sd": pace_norm.sd / sqrt(max(third_s, 0.1))})
    noticed_pace = _NOTICED_PACE_SHARE * (prosody.pace or 0)
    sizes = {
        ("louder", "quieter"): (changes.level_db, norms.level_change_db, _NOTICED_LEVEL_DB),
        ("higher", "lower"): (changes.pitch_st, norms.pitch_change_st, _NOTICED_PITCH_ST),
        ("faster", "slower"): (changes.pace, pace_sd, noticed_pace),
        ("raised_end", ""): (changes.final_pitch_st, norms.final_pitch_st, _NOTICED_PITCH_ST),
    }
    distribution = dict.fromkeys(SLOT_VALUES[Slot.CHANGE], 0.0)
    measured: dict[str, float] = {}
    steady = 1.0
    for (more, less), (size, norm, noticed) in sizes.items():
        if size is None or not noticed:
            continue
        right = 1 - norm.outliers
        distribution[more] = right * _above(size, max(noticed, norm.high), norm.sd)
        measured[more] = size
        steady *= 1 - _above(size, noticed, norm.sd)
        if less:
            distribution[less] = right * _above(-size, max(noticed, -norm.low), norm.sd)
            measured[less] = size
            steady *= 1 - _above(-size, noticed, norm.sd)
    distribution["steady"] = steady
    value = max(distribution, key=distribution.__getitem__)
    return _likeliest(_bounded(distribution), measured.get(value))


def _emphasis(emphasis: Emphasis | None, norms: ProsodyNorms) -> Attribute:
    if emphasis is None:
        return Attribute()
    certain = _above(emphasis.prominence_db, 0, norms.emphasis.sd_db)
    distribution = dict.fromkeys(_THIRDS, (1 - certain) / 2)
    distribution[_THIRDS[min(2, int(3 * emphasis.place))]] = certain
    return _likeliest(distribution, emphasis.place)


def _above(value: float, border: float, sd: float) -> float:
    """Return the probability that the true value is above ``border``."""
    return 0.5 * (1 + erf((value - border) / (sd * sqrt(2))))


def _sigmoid(log_odds: float) -> float:
    if log_odds >= 0:
        return 1 / (1 + exp(-log_odds))
    return exp(log_odds) / (1 + exp(log_odds))


def _bounded(distribution: dict[str, float]) -> dict[str, float]:
    """Return probabilities without errors of rounding."""
    return {value: min(1.0, max(0.0, share)) for value, share in distribution.items()}
