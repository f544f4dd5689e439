"""Foreign text is shown with every character visible, and none controls the terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.output.plain_text import (
    is_visible,
    plain_json,
    plain_line,
    plain_text,
)

TEXTS = st.text(st.characters(exclude_categories=[]))

HIDDEN = (
    "\x00", "\x07", "\x1b", "\x7f", "\x9b", "\r", "\n", "\t", "\u00ad", "\u034f", "\u061c",
    "\u115f", "\u1680", "\u180e", "\u200b", "\u200d", "\u200e", "\u2028", "\u202e", "\u2066",
    "\u2800", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufffc", "\ue000", "\ud800", "\U000e0041",
    "\U000e0100", "\U0001d173", "\u0378",
)  # fmt: skip


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_hidden_characters_are_escaped(character: str) -> None:
    assert not is_visible(character)
    escaped = plain_line(f"a{character}b")
    assert escaped == f"a{ascii(character)[1:-1]}b"
    assert escaped.isascii()


@pytest.mark.parametrize("text", ["Ada O'Hara", "josé", "Ζωή", "李小龍", "עדה", "e\u0301", "🎤"])
def test_readable_text_is_unchanged(text: str) -> None:
    assert plain_line(text) == plain_text(text) == plain_json(text) == text


@given(TEXTS)
def test_line_is_visible_and_bounded(text: str) -> None:
    line = plain_line(text, most=20)
    assert all(map(is_visible, line))
    assert len(line) <= 20 * len("\\U000e0001") + 1
    assert plain_line(line, most=1000) == line


@given(TEXTS)
def test_text_keeps_its_lines(text: str) -> None:
    assert plain_text(text).count("\n") == text.count("\n")


def test_stacked_accents_are_escaped() -> None:
    line = plain_line("e" + "\u0301" * 50)
    assert sum(unicodedata.combining(c) > 0 for c in line) == 4
    assert plain_line("\u0301a") == "\\u0301a", "it would modify the text before it"


@given(
    st.recursive(
        TEXTS.map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")),
        st.lists,
        max_leaves=4,
    )
)
def test_json_keeps_its_meaning(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    shown = plain_json(text)
    assert json.loads(shown) == value
    assert all(is_visible(c) or c == "\n" for c in shown)
