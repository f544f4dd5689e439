"""Wording of gender on the device; tokens never contain it.

Models draft and verify neutral captions: "A speaker sounds angry; the speaker's voice is low". Only
the device knows the gender that the voice sounds like, and words it when it turns tokens into
text: "A woman sounds angry; her voice is low".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from ugsd_privacy.strict_models import StrictModel

__all__ = ["Gender", "GenderedPhrase", "gender_from", "with_gender"]

Gender = Literal["female", "male"]

_THRESHOLD = log(4)
"""Least log-odds for a voice that clearly sounds female or male: four to one."""

_Phrase = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]


class GenderedPhrase(StrictModel):
    """The wordings of a neutral phrase. If phrases overlap, the longest is used."""

    neutral: _Phrase
    female: _Phrase
    male: _Phrase


def gender_from(femininity: float | None) -> Gender | None:
    """Return the gender that a voice clearly sounds like, from the log-odds that it sounds female;
    ``None`` if it is unclear or unknown."""
    if femininity is None or not abs(femininity) >= _THRESHOLD:
        return None
    return "female" if femininity > 0 else "male"


class _Edit(NamedTuple):
    """A replacement for the characters ``start`` to ``end`` of a text."""

    start: int
    end: int
    replacement: str


def with_gender(
    pieces: Sequence[str], gender: Gender | None, phrases: Sequence[GenderedPhrase]
) -> list[str]:
    """Return the pieces of a neutral caption, worded for ``gender``; unchanged for ``None``.

    The result has one piece per input piece, so that the source of each stays known: the first
    piece of a phrase gets the new words, the others lose theirs and may be empty. The joined text
    does not depend on how it is cut into pieces. Capitals are kept, and "a" or "an" before a phrase
    is adapted to its first letter.
    """
    if gender is None or not phrases:
        return list(pieces)
    text = "".join(pieces)
    edits = _edits(text, gender, phrases)
    out, start = [], 0
    for piece in pieces:
        out.append(_edited(text, start, start + len(piece), edits))
        start += len(piece)
    return out


def _edits(text: str, gender: Gender, phrases: Sequence[GenderedPhrase]) -> list[_Edit]:
    """Return the edits in the order of the text."""
    replacements = {
        phrase.neutral.lower(): phrase.female if gender == "female" else phrase.male
        for phrase in phrases
    }
    longest_first = "|".join(map(re.escape, sorted(replacements, key=len, reverse=True)))
    matcher = re.compile(
        rf"(?<![\w'’-])(?:(?P<article>an?)\s+)?(?P<phrase>{longest_first})(?![\w-]|['’]\w)", re.I
    )
    edits = []
    for match in matcher.finditer(text):
        words = replacements[match["phrase"].lower()]
        if match["article"]:
            article = "an" if words[0].lower() in "aeiou" else "a"
            edits.append(_Edit(*match.span("article"), _with_case_of(match["article"], article)))
        edits.append(_Edit(*match.span("phrase"), _with_case_of(match["phrase"], words)))
    return edits


def _with_case_of(original: str, words: str) -> str:
    return words[0].upper() + words[1:] if original[0].isupper() else words


def _edited(text: str, start: int, end: int, edits: Sequence[_Edit]) -> str:
    """Return the characters ``start`` to ``end`` after the edits."""
    parts, at = [], start
    for edit in edits:
        if edit.start < end and edit.end > start:
            parts.append(text[at : max(at, edit.start)])
            if edit.start >= start:
                parts.append(edit.replacement)
            at = min(edit.end, end)
    return "".join([*parts, text[at:end]])
