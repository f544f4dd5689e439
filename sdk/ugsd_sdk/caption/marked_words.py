"""The words of a caption, and which of them were sent, replaced, or decided by the verifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import groupby, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from ugsd_sdk.decoding.events import TokenSource

if TYPE_CHECKING:
    from ugsd_sdk.caption.caption import Caption
    from ugsd_sdk.caption.parts import CaptionToken

__all__ = ["Mark", "marked_words"]


class Mark(StrEnum):
    """What happened to words."""

    SENT = "sent to the verifier"
    REPLACED = "sent, then replaced"
    """These words are no longer part of the text."""
    DECIDED = "decided by the verifier"
    """They state the emotion that the verifier chose, in the device's words. With blocks of tokens
    they are the verifier's own words."""
    LOCAL = "not sent"


def marked_words(caption: Caption) -> list[tuple[Mark, str]] | None:
    """Return the words of a caption with their marks, in order, words of the same mark together.

    Each part keeps its leading space. ``None`` if the tokens do not spell the text: the caption was
    read without them, or a tokenizer joins them differently.
    """
    joined = "".join(token.text for token in caption.tokens)
    if joined.split() != caption.text.split():
        return None
    return [
        (mark, "".join(part for _, part in parts))
        for mark, parts in groupby(_parts(caption.tokens), key=itemgetter(0))
    ]


def _parts(tokens: Sequence[CaptionToken]) -> Iterator[tuple[Mark, str]]:
    # An end marker that replaced sent words does not belong to the word before it.
    ends = bool(tokens) and bool(tokens[-1].replaced) and not tokens[-1].text
    words = tokens[: len(tokens) - ends]
    for index, token in enumerate(tokens):
        if token.replaced:
            yield Mark.REPLACED, token.replaced
        if token.text:
            wordless = takewhile(lambda later: not later.text, words[index + 1 :])
            yield _mark([token, *wordless]), token.text


def _mark(tokens: Sequence[CaptionToken]) -> Mark:
    """Return the mark of a word of one or more tokens; if any token was sent, the word was."""
    if any(token.disclosed for token in tokens):
        return Mark.SENT
    decided = {TokenSource.CORRECTED, TokenSource.CONTINUED}
    return Mark.DECIDED if any(token.source in decided for token in tokens) else Mark.LOCAL
