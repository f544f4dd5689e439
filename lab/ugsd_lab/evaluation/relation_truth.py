"""What a caption may claim about a clip's relation to the speaker's earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.prosody.prosody import Prosody

from ugsd_lab.evaluation.claim_truth import BEYOND, NOTHING, SlotTruth
from ugsd_lab.evaluation.emotion_calibration import AROUSAL_SIGN

__all__ = ["previous_truth", "profile_truth"]

_MIN_USUAL_CLIPS = 5
"""With fewer earlier clips nothing is salient: a listener does not know the speaker yet."""
_WORDS: Mapping[str, tuple[str, str]] = {
    "pitch_st": ("higher", "lower"),
    "pace": ("faster", "slower"),
    "effort_db": ("louder", "quieter"),
}
"""Measure -> words for more and less of it."""
_NOTICED_PITCH_ST = 2.0
_NOTICED_PACE_SHARE = 0.15
_NOTICED_EFFORT_DB = 3.0


def profile_truth(prosody: Prosody | None, earlier: Sequence[Prosody]) -> SlotTruth:
    """Return what may be claimed about a clip and the mean of the ``earlier`` clips of the same
    speaker. A pair such as ``higher+faster`` is right if both halves are; it, or one half, is
    enough for recall. A difference is salient if it is also larger than the speaker's spread."""
    if prosody is None or not earlier:
        return NOTHING
    right: set[str] = set()
    salient: set[str] = set()
    is_usual = True
    for measure, words in _WORDS.items():
        usual = [value for one in earlier if (value := _measured(one, measure)) is not None]
        now = _measured(prosody, measure)
        if now is None or not usual:
            continue
        mean, noticed = fmean(usual), _noticed(measure, fmean(usual))
        spread = stdev(usual) if len(usual) >= _MIN_USUAL_CLIPS else float("inf")
        difference = now - mean
        right |= _word(words, difference)
        is_usual &= abs(difference) < noticed or abs(difference) < spread
        if abs(difference) >= (1 + BEYOND) * max(noticed, spread):
            salient |= _word(words, difference)
    values = {value: set(value.split("+")) for value in SLOT_VALUES[Slot.PROFILE]}
    may = {value for value, parts in values.items() if parts <= right}
    if is_usual:
        may.add("usual")
    return SlotTruth.of(may, {value for value in may if values[value] & salient})


def previous_truth(
    prosody: Prosody | None, emotion: str | None, before: tuple[Prosody | None, str | None] | None
) -> SlotTruth:
    """Return what may be claimed about a clip and the one ``before``: prosody and emotion.

    The labels' arousal decides between calmer and more agitated; where it is the same or not known,
    the sum of what is noticeably higher, faster or louder and what is less so.
    """
    if prosody is None or before is None or before[0] is None:
        return NOTHING
    right: set[str] = set()
    salient: set[str] = set()
    moved = 0
    for measure, words in _WORDS.items():
        now, then = _measured(prosody, measure), _measured(before[0], measure)
        if now is None or then is None:
            continue
        difference, noticed = now - then, _noticed(measure, then)
        right |= _word(words, difference)
        if abs(difference) >= noticed:
            moved += 1 if difference > 0 else -1
        if abs(difference) >= (1 + BEYOND) * noticed:
            salient |= _word(words, difference)
    is_same = not salient
    labelled = _arousal_change(emotion, before[1])
    agitation = ("more_agitated", "calmer")
    right |= _word(agitation, labelled or moved)
    salient |= _word(agitation, labelled)
    if is_same and not labelled:
        right.add("same")
    return SlotTruth.of(right, salient)


def _arousal_change(emotion: str | None, before: str | None) -> int:
    now, then = (AROUSAL_SIGN.get(label or "") for label in (emotion, before))
    return 0 if now is None or then is None else now - then


def _word(words: tuple[str, str], difference: float) -> set[str]:
    """Return the word for more or for less; nothing for no difference."""
    return set() if difference == 0 else {words[0] if difference > 0 else words[1]}


def _measured(prosody: Prosody, measure: str) -> float | None:
    value: float | None = getattr(prosody, measure)
    return value


def _noticed(measure: str, usual: float) -> float:
    """Return the smallest difference that listeners notice."""
    if measure == "pace":
        return _NOTICED_PACE_SHARE * usual
    return _NOTICED_PITCH_ST if measure == "pitch_st" else _NOTICED_EFFORT_DB
