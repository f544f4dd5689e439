"""The slots of a caption, in the order of its tokens, and the values that each may have.

A caption is a sequence of clauses, one per slot. The emotion comes first, because a verifier may be
asked about it; the slots after it are measured on the device, and only the device decides them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import product

__all__ = [
    "EMOTIONS",
    "INTENSITIES",
    "SLOT_VALUES",
    "Slot",
]


class Slot(StrEnum):
    """A clause of a caption. The order of the members is that of the clauses."""

    EMOTION = "emotion"
    """How the speaker seems to feel, and how strongly."""
    LOUDNESS = "loudness"
    """Vocal effort, whatever the microphone's gain."""
    PACE = "pace"
    """Syllables per second of speech, pauses left out."""
    PITCH = "pitch"
    """Median pitch, compared with other speakers of a voice that sounds as female or male."""
    VARIATION = "variation"
    """How much the pitch rises and falls."""
    QUALITY = "quality"
    """Voice quality."""
    PAUSES = "pauses"
    """Pauses and their place."""
    CHANGE = "change"
    """How the delivery changes from the beginning to the end."""
    EMPHASIS = "emphasis"
    """Where the strongest stress lies."""
    PROFILE = "profile"
    """The difference from how the speaker usually sounds: the speaker profile."""
    PREVIOUS = "previous"
    """The difference from the speaker's utterance before."""


EMOTIONS = (
    "neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "bored",
)  # fmt: skip
INTENSITIES = ("moderate", "strong")
_DIRECTIONS = (("higher", "lower"), ("faster", "slower"), ("louder", "quieter"))
_SINGLE = tuple(word for pair in _DIRECTIONS for word in pair)
_PAIRS = tuple(
    f"{one}+{other}"
    for first, second in ((0, 1), (0, 2), (1, 2))
    for one, other in product(_DIRECTIONS[first], _DIRECTIONS[second])
)

SLOT_VALUES: Mapping[Slot, tuple[str, ...]] = {
    Slot.EMOTION: EMOTIONS,
    Slot.LOUDNESS: ("quiet", "moderate", "loud"),
    Slot.PACE: ("slow", "moderate", "fast"),
    Slot.PITCH: ("low", "medium", "high"),
    Slot.VARIATION: ("flat", "moderate", "lively"),
    Slot.QUALITY: (
        "breathy", "rough", "husky", "strained", "clear", "mellow", "muffled", "modal",
    ),
    Slot.PAUSES: ("none", "brief", "frequent", "long_early", "long_middle", "long_late"),
    Slot.CHANGE: (
        "louder", "quieter", "faster", "slower", "higher", "lower", "raised_end", "steady",
    ),
    Slot.EMPHASIS: ("early", "middle", "late"),
    Slot.PROFILE: (*_SINGLE, *_PAIRS, "usual"),
    Slot.PREVIOUS: ("calmer", "more_agitated", *_SINGLE, "same"),
}  # fmt: skip
"""The values of each slot. A clause states exactly one of them. Some are never worded: see
:mod:`~ugsd_sdk.attributes.plan`."""
