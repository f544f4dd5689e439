"""How varied the wording of captions is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["WordingVariety", "wording_variety"]

_OPENING_WORDS = 3
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class WordingVariety:
    """The wording of the captions of one length."""

    captions: int
    opening: str
    """The most frequent first three words."""
    opening_share: float
    """Share of captions that begin with them."""
    distinct_words: int
    """Number of different words, ignoring case."""
    words_p5: float
    words_p50: float
    words_p95: float
    """Percentiles of words per caption."""


def wording_variety(texts: Sequence[str]) -> WordingVariety:
    """Return the variety of ``texts``, of which there is at least one."""
    words = [_WORD.findall(text.casefold()) for text in texts]
    openings = Counter(" ".join(own[:_OPENING_WORDS]) for own in words)
    opening, count = openings.most_common(1)[0]
    low, middle, high = np.percentile([len(own) for own in words], [5, 50, 95])
    return WordingVariety(
        len(texts),
        opening,
        count / len(texts),
        len({word for own in words for word in own}),
        float(low),
        float(middle),
        float(high),
    )
