"""The grammar of captions: the clauses of a caption with an emotion and a plan.

A clause belongs to one slot, and the same emotion and plan always give the same clauses. Captions
are neutral: they say "the speaker", so that gender is never sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import UNGRADED, CaptionPlan
from ugsd_sdk.attributes.slots import Slot

from ugsd_lab.data.lexicon import LEXICON

__all__ = ["Clause", "caption_text", "clauses", "emotion_clause"]


class Clause(NamedTuple):
    """A part of a caption."""

    slot: Slot | None
    """``None`` for the full stop at the end."""
    text: str
    """With the punctuation and the space before it."""


_STRONGLY = ("very", "deeply", "intensely", "strongly")
_GUESSED = ("possibly", "perhaps", "apparently")
_STRONG_AMOUNT = ("intense", "great", "deep", "strong")
_GUESSED_AMOUNT = ("a hint of", "something like", "a suggestion of")
_BY_SPEAKER = (
    "the speaker sounds {adjective}",
    "the speaker seems {adjective}",
    "the speaker comes across as {adjective}",
    "this speaker is {adjective}",
    "one hears a speaker who is {adjective}",
)
_BY_VOICE = (
    "there is {noun} in the voice",
    "{noun} colours the voice",
    "the voice conveys {noun}",
    "the tone is {adjective}",
    "it sounds {adjective}",
)
_OPENINGS = (*_BY_SPEAKER, *_BY_VOICE)
"""No article stands before the word of the emotion: "a" or "an" would have to be chosen before it,
by what all other emotions begin with."""
_VERBS = ("speaking", "talking")
_TALKS = ("the speaker talks", "the words come")
_COMPARED = {
    "higher": "higher", "lower": "lower", "faster": "faster", "slower": "slower",
    "louder": "louder", "quieter": "quieter", "calmer": "calmer",
    "more_agitated": "more agitated",
}  # fmt: skip
_USUAL = (
    "than usual for this speaker",
    "than this speaker usually sounds",
    "than is usual for this speaker",
)
_AS_USUAL = (
    "this is how the speaker usually sounds",
    "for this speaker that is quite usual",
)
_BEFORE = ("than a moment ago", "than just before", "than in the utterance before")


def clauses(emotion: str, plan: CaptionPlan) -> list[Clause]:
    """Return the clauses of the caption that names ``emotion`` and words ``plan``."""
    first = Clause(Slot.EMOTION, _capital(emotion_clause(emotion, plan)))
    return [first, *_Sentence(plan).clauses(), Clause(None, ".")]


def caption_text(emotion: str, plan: CaptionPlan) -> str:
    """Return the text of a caption."""
    return "".join(clause.text for clause in clauses(emotion, plan))


def emotion_clause(emotion: str, plan: CaptionPlan) -> str:
    """Return the first clause, without a capital."""
    forms = LEXICON["emotion"][emotion]
    adjective, noun = (_pick(forms[form], plan.variant) for form in ("adjective", "noun"))
    variant = plan.variant + plan.opening
    if plan.is_doubtful:
        adjective = f"{_pick(_GUESSED, variant)} {adjective}"
        noun = f"{_pick(_GUESSED_AMOUNT, variant)} {noun}"
    elif plan.is_strong and emotion not in UNGRADED:
        noun = f"{_pick(_STRONG_AMOUNT, variant)} {noun}"
        is_one_word = variant % 2
        adjective = (
            _pick(forms["strong"], plan.variant)
            if is_one_word
            else f"{_pick(_STRONGLY, variant)} {adjective}"
        )
    return _OPENINGS[plan.opening].format(adjective=adjective, noun=noun)


class _Sentence:
    """The measured clauses of a caption, in order."""

    def __init__(self, plan: CaptionPlan) -> None:
        self._plan = plan
        self._said = plan.values
        self._is_rich = plan.length is CaptionLength.RICH

    def clauses(self) -> list[Clause]:
        word = {
            Slot.LOUDNESS: self._loudness,
            Slot.PACE: self._pace,
            Slot.PITCH: self._voice,
            Slot.VARIATION: self._voice,
            Slot.QUALITY: self._voice,
            Slot.PAUSES: self._course,
            Slot.CHANGE: self._course,
            Slot.EMPHASIS: self._course,
            Slot.PROFILE: self._profile,
            Slot.PREVIOUS: self._previous,
        }
        if self._plan.length is CaptionLength.SHORT:
            return [Clause(slot, self._short(slot)) for slot in self._said]
        return [Clause(slot, word[slot](slot)) for slot in self._said]

    def _forms(self, slot: Slot) -> dict[str, tuple[str, ...]]:
        return dict(LEXICON[slot.value][self._said[slot]])

    def _form(self, slot: Slot, form: str) -> str:
        return _pick(self._forms(slot)[form], self._plan.variant)

    def _is_first(self, slot: Slot, among: Sequence[Slot]) -> bool:
        return next(one for one in self._said if one in among) is slot

    def _verb(self, slot: Slot) -> str:
        """Return the words before the first clause about the manner; "" before a later one."""
        manner = (Slot.LOUDNESS, Slot.PACE, Slot.PITCH, Slot.VARIATION, Slot.QUALITY)
        spoken = manner if self._is_rich else (*manner, Slot.PAUSES)
        if not self._is_first(slot, spoken):
            return ""
        if self._plan.opening < len(_BY_SPEAKER):
            return f", {_pick(_VERBS, self._plan.variant)}"
        return f"; {_pick(_TALKS, self._plan.variant)}"

    def _short(self, slot: Slot) -> str:
        form = "manner" if slot is Slot.PITCH else "adjective"
        joint = ", " if self._is_first(slot, tuple(Slot)) else " and "
        return joint + self._form(slot, form)

    def _loudness(self, slot: Slot) -> str:
        return f"{self._verb(slot)} {self._form(slot, 'adverb')}"

    def _pace(self, slot: Slot) -> str:
        forms = self._forms(slot)
        form = "adverb" if "adverb" in forms else "phrase"
        joint = ""
        if Slot.LOUDNESS in self._said:
            joint = " and"
            if " " in self._form(Slot.LOUDNESS, "adverb"):
                form = "phrase"  # with great effort and at a fast pace, not: and quickly
        return f"{self._verb(slot)}{joint} {_pick(forms[form], self._plan.variant)}"

    def _voice(self, slot: Slot) -> str:
        among = [one for one in (Slot.PITCH, Slot.VARIATION, Slot.QUALITY) if one in self._said]
        adjective = self._form(slot, "adjective")
        start = f"{self._verb(slot)} in {_with_article(adjective)}"
        text = start if slot is among[0] else f", {adjective}"
        return f"{text} voice" if slot is among[-1] else text

    def _course(self, slot: Slot) -> str:
        if not self._is_rich:
            verb = self._verb(slot) if slot is Slot.PAUSES else ""
            return f"{verb or ','} {self._form(slot, 'phrase')}"
        among = [one for one in (Slot.PAUSES, Slot.CHANGE, Slot.EMPHASIS) if one in self._said]
        clause = self._form(slot, "clause")
        if slot is among[0]:
            return f". {_capital(clause)}"
        return f", and {clause}" if slot is among[-1] else f", {clause}"

    def _profile(self, slot: Slot) -> str:
        value = self._said[slot]
        if value == "usual":
            clause = _pick(_AS_USUAL, self._plan.variant)
            return f". {_capital(clause)}" if self._is_rich else f"; {clause}"
        words = " and ".join(value.split("+"))
        compared = f"{words} {_pick(_USUAL, self._plan.variant)}"
        return f". That is {compared}" if self._is_rich else f", {compared}"

    def _previous(self, slot: Slot) -> str:
        word = _COMPARED[self._said[slot]]
        compared = f"{word} {_pick(_BEFORE, self._plan.variant)}"
        if Slot.PROFILE in self._said:
            return f", and {compared}"
        return f". That is {compared}" if self._is_rich else f", {compared}"


def _pick(phrases: Sequence[str], variant: int) -> str:
    return phrases[variant % len(phrases)]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
