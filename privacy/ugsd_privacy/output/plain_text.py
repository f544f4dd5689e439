"""Text that somebody else wrote, as it may be shown: every character is seen, and none is obeyed.

A terminal obeys control characters and escape sequences; marks of direction, invisible characters
and piles of accents make text read as what it is not. All of these are replaced by how Python
writes them (``\\x1b``, ``\\u202e``), in every place where foreign text is shown.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

__all__ = ["MOST_CHARACTERS", "is_visible", "plain_json", "plain_line", "plain_text"]

MOST_CHARACTERS = 500
"""A line that somebody else wrote is cut after so many characters."""

_MOST_MARKS = 4
"""Marks on one letter; no script that is written today needs more."""
_INVISIBLE = frozenset(
    map(
        chr,
        chain(
            # Unicode's Default_Ignorable_Code_Point, as far as its categories do not tell.
            (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x3164, 0xFFA0),
            range(0x180B, 0x180E),
            range(0xFE00, 0xFE10),
            range(0xE0100, 0xE01F0),
            (0x2800, 0xFFFC),  # the braille pattern without dots, the place of an object
        ),
    )
)


def is_visible(character: str) -> bool:
    """Whether a character, or a space, is seen for what it is.

    Controls, marks of format and direction, unassigned and private ones, halves of surrogate
    pairs, and spaces and line ends other than the plain space are not.
    """
    return character.isprintable() and character not in _INVISIBLE


def plain_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """``text`` on one line of at most ``most`` characters and an ellipsis, every one visible."""
    shown = _escaped(text[:most])
    return shown if len(text) <= most else f"{shown}…"


def plain_text(text: str) -> str:
    """``text`` on as many lines as it has, every character visible but the ends of lines."""
    return "\n".join(map(_escaped, text.split("\n")))


def plain_json(text: str) -> str:
    """The JSON ``text`` with the same meaning, every character visible but the ends of lines:
    others can stand in its strings alone, where each has an escape (RFC 8259 §7)."""
    return "".join(c if is_visible(c) or c == "\n" else _json_escape(c) for c in text)


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], _MOST_MARKS  # at the start a mark would sit on what stands before
    for character in text:
        is_mark = unicodedata.category(character) in {"Mn", "Me"}
        marks = marks + 1 if is_mark else 0
        is_shown = is_visible(character) and marks <= _MOST_MARKS
        shown.append(character if is_shown else ascii(character)[1:-1])
    return "".join(shown)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2] for at in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair, 'big'):04x}" for pair in pairs)
