"""How the device words gender, which tokens never spell.

Models draft and verify neutral captions: "A speaker sounds angry; the speaker's voice is low". What
the voice sounds like is known on the device alone, which words it when it turns tokens into text:
"A woman sounds angry; her voice is low".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from ugsd_privacy.strict_models import StrictModel

__all__ = ["Gender", "GenderedPhrase", "with_gender"]

Gender = Literal["female", "male"]

_Phrase = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]


class GenderedPhrase(StrictModel):
    """What a neutral phrase is worded as. Where phrases overlap, the longest counts."""

    neutral: _Phrase
    female: _Phrase
    male: _Phrase


class _Edit(NamedTuple):
    """Characters ``start`` to ``end`` of a text, and what stands there instead."""

    start: int
    end: int
    instead: str


def with_gender(
    pieces: Sequence[str], gender: Gender | None, phrases: Sequence[GenderedPhrase]
) -> list[str]:
    """The pieces of a neutral caption, worded for ``gender``; ``None`` leaves them as they are.

    One piece comes out for each that goes in, so that who wrote it stays known: the first piece of
    a phrase takes the words, the others lose theirs and may be empty. However a text is cut into
    pieces, joined they give the same. Capitals are kept, and "a" or "an" before a phrase is put
    right by its first letter.
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
    """In the order of the text."""
    instead = {
        phrase.neutral.lower(): phrase.female if gender == "female" else phrase.male
        for phrase in phrases
    }
    longest_first = "|".join(map(re.escape, sorted(instead, key=len, reverse=True)))
    matcher = re.compile(
        rf"(?<![\w'’-])(?:(?P<article>an?)\s+)?(?P<phrase>{longest_first})(?![\w-]|['’]\w)", re.I
    )
    edits = []
    for match in matcher.finditer(text):
        words = instead[match["phrase"].lower()]
        if match["article"]:
            article = "an" if words[0].lower() in "aeiou" else "a"
            edits.append(_Edit(*match.span("article"), _as_in(match["article"], article)))
        edits.append(_Edit(*match.span("phrase"), _as_in(match["phrase"], words)))
    return edits


def _as_in(was: str, words: str) -> str:
    return words[0].upper() + words[1:] if was[0].isupper() else words


def _edited(text: str, start: int, end: int, edits: Sequence[_Edit]) -> str:
    """What becomes of the characters ``start`` to ``end``."""
    parts, at = [], start
    for edit in edits:
        if edit.start < end and edit.end > start:
            parts.append(text[at : max(at, edit.start)])
            if edit.start >= start:
                parts.append(edit.instead)
            at = min(edit.end, end)
    return "".join([*parts, text[at:end]])
