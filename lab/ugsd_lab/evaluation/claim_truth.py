"""What a caption of a recording may claim, by labels and by independent measurement.

A claim about a level ("high") is right if the measured value lies on that side of the population's
border, about a change or a difference ("louder", "higher than usual") if it has that sign, and
about a place if that third of the utterance holds it: a neighbouring third is wrong. A claim about
what the recording does not have, such as the pitch of a whisper or a difference from no earlier
clip, is wrong.

A fact is *salient* if it is clearly beyond its border: by a quarter of the distance between the
borders of the level, or of the smallest difference that listeners notice. Within an utterance,
pitch, level and pace fall by themselves (declination), so a fall is salient only if it is twice as
large. Only salient facts count for recall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.prosody.norms import LevelNorm, ProsodyNorms
from ugsd_sdk.prosody.prosody import Changes, Pause, Prosody

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Level, Levels

__all__ = [
    "BEYOND",
    "INTENSITY",
    "NOTHING",
    "Borders",
    "LevelBorders",
    "SlotTruth",
    "Truth",
    "label_truth",
    "recording_truth",
]

INTENSITY = "intensity"
"""The strength of the emotion, which belongs to the clause of the slot ``emotion``."""
BEYOND = 0.25
"""How far beyond a border a salient fact is, as a share of the distance."""

Borders = tuple[float, float]
"""The end of low and the beginning of high."""

_LONG_PAUSE_S = 0.7
_FREQUENT = 3
_STRESS_DB = 3.0
"""A stress that rises so far above the other thirds is salient."""
_NOTICED_LEVEL_DB = 3.0
_NOTICED_PITCH_ST = 2.0
_NOTICED_PACE = 0.2
"""As a share of the recording's pace."""
_DECLINATION = 2.0
"""How much larger a fall than a rise must be to be salient."""


@dataclass(frozen=True)
class LevelBorders:
    """The borders between low, middle and high levels in the population."""

    pitch_female_st: Borders
    pitch_male_st: Borders
    variation_st: Borders
    effort_db: Borders
    clarity_db: Borders
    pace: Borders

    @classmethod
    def of(cls, norms: ProsodyNorms) -> Self:
        """Return the borders that the device compares with."""
        return cls(
            pitch_female_st=_borders(norms.pitch_st_female),
            pitch_male_st=_borders(norms.pitch_st_male),
            variation_st=_borders(norms.variation_st),
            effort_db=_borders(norms.effort_db),
            clarity_db=_borders(norms.clarity_db),
            pace=_borders(norms.pace),
        )

    def pitch_of(self, gender: str | None) -> Borders:
        """Return the borders of pitch for a speaker of ``gender``; between those of women and of
        men if it is not known."""
        female, male = self.pitch_female_st, self.pitch_male_st
        if gender in ("female", "male"):
            return female if gender == "female" else male
        return (female[0] + male[0]) / 2, (female[1] + male[1]) / 2


def _borders(norm: LevelNorm) -> Borders:
    return norm.low, norm.high


@dataclass(frozen=True)
class SlotTruth:
    """What may be claimed about one slot."""

    right: frozenset[str]
    """The values that may be stated."""
    salient: frozenset[str] = frozenset()
    """The values of which a listener would mention one; empty if nothing is remarkable."""

    @classmethod
    def of(cls, right: Iterable[str], salient: Iterable[str] = ()) -> Self:
        """Return the truth with these values."""
        return cls(frozenset(right), frozenset(salient))


NOTHING = SlotTruth(frozenset())
"""Every claim is wrong."""

Truth = Mapping[str, SlotTruth]
"""By slot, and intensity; what is missing is not known, and claims about it are not judged."""


def label_truth(clip: Clip) -> dict[str, SlotTruth]:
    """Return what the labels of ``clip`` say. Its emotion is always salient."""
    truth: dict[str, SlotTruth] = {}
    if clip.emotion is not None:
        truth[Slot.EMOTION] = SlotTruth.of([clip.emotion], [clip.emotion])
    if clip.intensity is not None:
        strength = "strong" if clip.intensity == "strong" else "mild"
        truth[INTENSITY] = SlotTruth.of([strength], [strength] if strength == "strong" else ())
    return truth


def recording_truth(
    prosody: Prosody | None, borders: LevelBorders, gender: str | None
) -> dict[str, SlotTruth]:
    """Return what may be claimed of a recording by itself. ``None``: nothing, since it is
    silent. Without a known number of syllables nothing is known of the pace."""
    if prosody is None:
        return {slot: NOTHING for slot in SLOT_VALUES if slot is not Slot.EMOTION}
    truth: dict[str, SlotTruth] = {
        Slot.LOUDNESS: _level_truth(Slot.LOUDNESS, prosody.effort_db, borders.effort_db),
        Slot.PITCH: _level_truth(Slot.PITCH, prosody.pitch_st, borders.pitch_of(gender)),
        Slot.VARIATION: _level_truth(Slot.VARIATION, prosody.variation_st, borders.variation_st),
        Slot.QUALITY: _quality_truth(prosody, borders),
        Slot.PAUSES: _pauses_truth(prosody),
        Slot.CHANGE: _change_truth(prosody.changes, prosody.pace),
        Slot.EMPHASIS: _emphasis_truth(prosody),
    }
    if prosody.pace is not None:
        truth[Slot.PACE] = _level_truth(Slot.PACE, prosody.pace, borders.pace)
    return truth


def _level(value: float, borders: Borders, beyond: float = 0.0) -> Level:
    low, high = borders
    margin = beyond * (high - low)
    return "low" if value < low - margin else "high" if value > high + margin else "mid"


def _level_truth(slot: Slot, value: float | None, borders: Borders) -> SlotTruth:
    if value is None:
        return NOTHING
    names: dict[Level, str] = dict(zip(("low", "mid", "high"), SLOT_VALUES[slot], strict=True))
    clear = _level(value, borders, BEYOND)
    return SlotTruth.of([names[_level(value, borders)]], [] if clear == "mid" else [names[clear]])


def _quality_truth(prosody: Prosody, borders: LevelBorders) -> SlotTruth:
    """A quality is salient if its two measures may each be a quarter off without another one."""
    if prosody.clarity_db is None or prosody.effort_db is None:
        return NOTHING
    near = {
        _quality(
            _moved(prosody.clarity_db, borders.clarity_db, clarity), borders.clarity_db,
            _moved(prosody.effort_db, borders.effort_db, effort), borders.effort_db,
        )
        for clarity in (-BEYOND, BEYOND)
        for effort in (-BEYOND, BEYOND)
    }  # fmt: skip
    own = _quality(prosody.clarity_db, borders.clarity_db, prosody.effort_db, borders.effort_db)
    return SlotTruth.of([own], near if near == {own} and own != "modal" else ())


def _moved(value: float, borders: Borders, share: float) -> float:
    return value + share * (borders[1] - borders[0])


def _quality(clarity: float, of_clarity: Borders, effort: float, of_effort: Borders) -> str:
    levels = Levels(
        pitch="mid", variation="mid", pace="mid", pauses="mid",
        clarity=_level(clarity, of_clarity), loudness=_level(effort, of_effort),
    )  # fmt: skip
    return levels.quality


def _pauses_truth(prosody: Prosody) -> SlotTruth:
    """Short pauses are brief, whatever their number; three or more are frequent, whatever their
    length; the longest decides on the place of a long one."""
    pauses = prosody.pauses
    if not pauses:
        return SlotTruth.of(["none"])
    longest = max(pauses, key=_duration_s)
    right, salient = [], []
    if _duration_s(longest) >= _LONG_PAUSE_S:
        place = f"long_{_third(longest.start_s, prosody.start_s, prosody.end_s)}"
        right.append(place)
        if _duration_s(longest) >= _LONG_PAUSE_S * (1 + BEYOND):
            salient.append(place)
    else:
        right.append("brief")
    if len(pauses) >= _FREQUENT:
        right.append("frequent")
        if len(pauses) > _FREQUENT:
            salient.append("frequent")
    return SlotTruth.of(right, salient)


def _duration_s(pause: Pause) -> float:
    return pause.end_s - pause.start_s


def _third(time_s: float, start_s: float, end_s: float) -> str:
    share = (time_s - start_s) / (end_s - start_s) if end_s > start_s else 0.0
    return _place(share)


def _place(share: float) -> str:
    return ("early", "middle", "late")[min(max(int(3 * share), 0), 2)]


def _change_truth(changes: Changes | None, pace: float | None) -> SlotTruth:
    """The words "louder" and "quieter" are about the level, which changes within one recording
    only if the voice does."""
    if changes is None:
        return NOTHING
    differences = [
        ("louder", "quieter", changes.level_db / _NOTICED_LEVEL_DB),
        ("higher", "lower", _in_units(changes.pitch_st, _NOTICED_PITCH_ST)),
        ("faster", "slower", _in_units(changes.pace, _NOTICED_PACE * (pace or 5.0))),
    ]
    right, salient = _directions(differences)
    if not any(abs(amount) >= 1 for _, _, amount in differences):
        right.append("steady")
    rise = _in_units(changes.final_pitch_st, _NOTICED_PITCH_ST)
    right += ["raised_end"] * (rise > 0)
    salient += ["raised_end"] * (rise >= 1 + BEYOND)
    return SlotTruth.of(right, salient)


def _directions(differences: Iterable[tuple[str, str, float]]) -> tuple[list[str], list[str]]:
    """Return the right and the salient words for differences: the word for a rise, the one for a
    fall, and the amount in units of what is noticed."""
    right, salient = [], []
    for rise, fall, amount in differences:
        word = rise if amount > 0 else fall
        right += [word] * (amount != 0)
        salient += [word] * (max(amount, -amount / _DECLINATION) >= 1 + BEYOND)
    return right, salient


def _in_units(value: float | None, unit: float) -> float:
    return 0.0 if value is None else value / unit


def _emphasis_truth(prosody: Prosody) -> SlotTruth:
    if prosody.emphasis is None:
        return NOTHING
    place = _place(prosody.emphasis.place)
    return SlotTruth.of([place], [place] if prosody.emphasis.prominence_db >= _STRESS_DB else ())
