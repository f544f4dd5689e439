"""Variety of wording."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.wording import wording_variety


def test_openings_ignore_case_and_punctuation() -> None:
    texts = ["Quietly, a man speaks.", "quietly a man hums", "She sounds half-hearted."]
    variety = wording_variety(texts)
    assert (variety.opening, variety.opening_share) == ("quietly a man", 2 / 3)
    assert variety.distinct_words == 8
    assert (variety.words_p5, variety.words_p50) == (3.1, 4)


@given(st.lists(st.text(), min_size=1, max_size=9))
def test_repeated_captions_are_no_more_varied(texts: list[str]) -> None:
    once, twice = wording_variety(texts), wording_variety(texts * 2)
    assert once.distinct_words == twice.distinct_words
    assert once.opening_share == twice.opening_share
    assert 0 < once.opening_share <= 1
