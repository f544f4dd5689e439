"""A caption of a whole channel: one to three sentences, in the words of captions.

1. The emotion of nearly all of the speech (nine tenths), or of most of it (more than half), or else
   the two that have most, with what the voice is like in most of the speech.
2. The turning points: the two with the smallest p-values, in the order of time.
3. How the end differs from the start.

A sentence is left out if there is nothing to say. Each states what is in the timeline as data.
"""

from __future__ import annotations

from collections.abc import Sequence

from ugsd_sdk.attributes.attribute import SAID_ABOVE
from ugsd_sdk.caption import NO_SPEECH
from ugsd_sdk.exports.clock import clock
from ugsd_sdk.timelines.measures import Series
from ugsd_sdk.timelines.parts import Relation, TimelineUtterance, TurningPoint
from ugsd_sdk.timelines.phrases import joined

__all__ = ["summary_of"]

_THROUGHOUT = 0.9
_MOSTLY = 0.5
_TRAITS = {
    "loudness": ("quiet", "loud"),
    "pitch": ("low", "high"),
    "quality": ("breathy", "rough", "husky", "strained", "clear", "mellow", "muffled"),
}
"""What captions word of a voice, and what is out of the ordinary in it."""
_MOST_POINTS = 2


def summary_of(
    utterances: Sequence[TimelineUtterance],
    series: Series,
    turning_points: Sequence[TurningPoint],
    end_from_start: Sequence[Relation],
    *,
    is_one_speaker: bool,
) -> str:
    """Return the summary of a channel; "No speech." without utterances."""
    if not utterances:
        return NO_SPEECH
    subject = "the speaker" if is_one_speaker else "the speech"
    changes = any(point.has_other_emotion for point in turning_points)
    sentences = [_emotions(series, subject, has_change=changes)]
    if is_one_speaker and (voice := _voice(utterances, series)):
        sentences[0] += f", in a {voice} voice"
    sentences += [_turns(turning_points, subject), _end(end_from_start)]
    return " ".join(f"{one[0].upper()}{one[1:]}." for one in sentences if one)


def _emotions(series: Series, subject: str, *, has_change: bool) -> str:
    shares = series.emotion_shares()
    if not shares:
        return f"{subject} cannot be described"
    first, *others = shares
    if shares[first] >= _THROUGHOUT and not has_change:
        return f"{subject} sounds {first} throughout"
    if shares[first] > _MOSTLY or not others:
        return f"{subject} sounds mostly {first}"
    return f"{subject} sounds partly {first} and partly {others[0]}"


def _voice(utterances: Sequence[TimelineUtterance], series: Series) -> str:
    """Return the adjectives that hold, almost certainly, in most of the speech."""
    whole_s = float(series.speech_s.sum())
    words = []
    for name, values in _TRAITS.items():
        for value in values:
            held_s = sum(
                float(speech_s)
                for position, speech_s in zip(series.positions, series.speech_s, strict=True)
                if _holds(utterances[position], name, value)
            )
            if held_s > _MOSTLY * whole_s:
                words.append(value)
    return ", ".join(words)


def _holds(one: TimelineUtterance, name: str, value: str) -> bool:
    attribute = one.caption.attributes.by_name()[name]
    return attribute.value == value and (attribute.confidence or 0) >= SAID_ABOVE


def _turns(turning_points: Sequence[TurningPoint], subject: str) -> str:
    chosen = sorted(turning_points, key=lambda point: point.p_value)[:_MOST_POINTS]
    clauses = []
    for point in sorted(chosen, key=lambda point: point.at_s):
        parts = []
        if point.has_other_emotion:
            parts.append(f"sounds {point.emotion_after} instead of {point.emotion_before}")
        if point.relations:
            parts.append(f"is {joined([one.word for one in point.relations])} than before")
        clauses.append(f"from {clock(point.at_s)} on, {subject} {' and '.join(parts)}")
    return "; ".join(clauses)


def _end(relations: Sequence[Relation]) -> str:
    if not relations:
        return ""
    return f"at the end, the speech is {joined([one.word for one in relations])} than at the start"
