"""What a caption claims, clause by clause, and how each claim was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.attributes import unit_of
from ugsd_sdk.attributes.slots import Slot

__all__ = ["RULES", "Claim", "ClaimedCaption", "Clause", "claims_of", "clauses_of", "percent"]

RULES: Mapping[Slot, str] = {
    Slot.EMOTION: "The most likely emotion by the drafter's model, or the verifier's choice.",
    Slot.LOUDNESS: "Effort: energy above 1 kHz over that below, where voiced, beside norms.",
    Slot.PACE: "Syllable nuclei per second of speech, pauses left out, beside norms.",
    Slot.PITCH: "Median pitch beside norms for voices that sound as female or male.",
    Slot.VARIATION: "Standard deviation of the pitch in semitones beside norms.",
    Slot.QUALITY: "Clarity, which is cepstral peak prominence, and effort beside norms.",
    Slot.PAUSES: "Quiet of at least 0.25 s between first and last speech; long from 0.7 s.",
    Slot.CHANGE: "Last third of the speech minus its first third, if noticeable and unusual.",
    Slot.EMPHASIS: "Where level and pitch, smoothed over 0.2 s, rise most above the rest.",
    Slot.PROFILE: "Pitch, pace and effort beside the averages in the speaker profile.",
    Slot.PREVIOUS: "Pitch, pace, effort and arousal beside the utterance before.",
}
"""How each slot is measured, in a line."""

_PERCENT = 100
_RELATIONS = (Slot.CHANGE, Slot.PROFILE, Slot.PREVIOUS)


class ClaimedToken(Protocol):
    """A token of a caption."""

    @property
    def text(self) -> str: ...
    @property
    def slot(self) -> Slot | None: ...


class ClaimedAttributes(Protocol):
    """The attributes of a caption: a field for each slot, named as the slot."""

    @property
    def intensity(self) -> Attribute:
        """How strong the emotion is."""

    @property
    def pause_spans(self) -> Sequence[tuple[float, float]]:
        """Start and end of each pause in seconds of the recording."""


class ClaimedCaption(Protocol):
    """The parts of a caption that its claims are read from."""

    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> Sequence[ClaimedToken]: ...
    @property
    def attributes(self) -> ClaimedAttributes: ...


class Clause(NamedTuple):
    """Consecutive words of a caption that belong to one slot."""

    slot: Slot | None
    """``None`` for words that claim nothing."""
    text: str
    """The words with the spaces around them."""


@dataclass(frozen=True)
class Claim:
    """One slot: what the caption states of it, and how that was measured."""

    slot: Slot
    words: str
    """The words of its clause; empty if the caption does not state it."""
    attribute: Attribute
    rule: str
    intensity: str | None = None
    """How strong the emotion is, if the caption states it."""

    @property
    def value(self) -> str:
        """The value, and for an emotion how strong it is if that is stated; empty if there is
        none."""
        parts = (self.attribute.value, self.intensity)
        return ", ".join(part for part in parts if part is not None)

    @property
    def number(self) -> str:
        """The measured number with its unit; empty if there is none."""
        measured = self.attribute.measured
        return "" if measured is None else _with_unit(self.slot, self.attribute.value, measured)

    @property
    def confidence(self) -> str:
        """The confidence in percent; empty if there is none."""
        confidence = self.attribute.confidence
        return "" if confidence is None else percent(confidence)


def claims_of(caption: ClaimedCaption) -> tuple[Claim, ...]:
    """Return a claim for each slot, in the order of slots."""
    intensity = caption.attributes.intensity
    words: dict[Slot, list[str]] = {}
    for clause in clauses_of(caption):
        if clause.slot is not None:
            words.setdefault(clause.slot, []).append(clause.text.strip(" ,.;"))
    return tuple(
        Claim(
            slot=slot,
            words=" ... ".join(words.get(slot, ())),
            attribute=getattr(caption.attributes, slot),
            rule=RULES[slot],
            intensity=intensity.value if slot is Slot.EMOTION and intensity.is_said else None,
        )
        for slot in Slot
    )


def clauses_of(caption: ClaimedCaption) -> tuple[Clause, ...]:
    """Return the text as clauses. Their texts, joined, are the text of the caption, which is one
    clause without a slot if its tokens are joined in another way."""
    tokens = [token for token in caption.tokens if token.text]
    clauses = tuple(
        Clause(slot, "".join(token.text for token in part))
        for slot, part in groupby(tokens, key=lambda token: token.slot)
    )
    joined = "".join(clause.text for clause in clauses)
    if joined.split() == caption.text.split():
        return clauses
    return (Clause(None, caption.text),) if caption.text else ()


def percent(probability: float) -> str:
    """Return a probability in whole percent, which is 100 % or 0 % only if it is certain."""
    rounded = round(_PERCENT * probability)
    if rounded == _PERCENT and probability < 1:
        return "> 99 %"
    return "< 1 %" if rounded == 0 and probability > 0 else f"{rounded} %"


def _with_unit(slot: Slot, value: str | None, measured: float) -> str:
    if slot is Slot.PITCH:
        return f"{100 * 2 ** (measured / 12):.0f} Hz"
    if slot is Slot.EMPHASIS:
        return f"{_PERCENT * measured:.0f} % of the time"
    unit = unit_of(slot, value) or ""
    sign = "+" if slot in _RELATIONS else ""
    return f"{measured:{sign}.1f} {unit}".rstrip()
