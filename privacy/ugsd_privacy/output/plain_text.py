"""Escape foreign text so that every character is visible and none controls a terminal.

Terminals interpret control characters and escape sequences. Direction marks, invisible characters
and stacked accents make text look like other text. All of these are replaced by Python's escapes
(``\\x1b``, ``\\u202e``) wherever foreign text is shown.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

__all__ = [
    "MOST_CHARACTERS",
    "ascii_json",
    "encodable",
    "is_visible",
    "plain_json",
    "plain_line",
    "plain_text",
]

MOST_CHARACTERS = 500
"""A line of foreign text is cut after this number of characters."""

_MOST_MARKS = 4
"""Maximum number of marks on one letter; no living script needs more."""
_INVISIBLE = frozenset(
    map(
        chr,
        chain(
            # Unicode's Default_Ignorable_Code_Point, if the category does not show it.
            (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x3164, 0xFFA0),
            range(0x180B, 0x180E),
            range(0xFE00, 0xFE10),
            range(0xE0100, 0xE01F0),
            (0x2800, 0xFFFC),  # blank braille pattern, object replacement character
        ),
    )
)


def is_visible(character: str) -> bool:
    """Return whether a character is visible, or the plain space.

    Controls, format and direction marks, unassigned and private-use characters, surrogates, and
    all other spaces and line ends are not.
    """
    return character.isprintable() and character not in _INVISIBLE


def plain_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` on one line, all visible, cut after ``most`` characters with an ellipsis."""
    shown = _escaped(text[:most])
    return shown if len(text) <= most else f"{shown}…"


def plain_text(text: str) -> str:
    """Return ``text`` with its line breaks, and every other character visible."""
    return "\n".join(map(_escaped, text.split("\n")))


def plain_json(text: str) -> str:
    """Return JSON with the same meaning as ``text``, in which all characters but line breaks are
    visible: others can occur only in strings, which allow escapes (RFC 8259 §7)."""
    return "".join(c if is_visible(c) or c == "\n" else _json_escape(c) for c in text)


def ascii_json(text: str) -> str:
    """Return JSON with the same meaning as ``text`` in visible ASCII characters and line breaks."""
    return "".join(
        c if c == "\n" or (c.isascii() and is_visible(c)) else _json_escape(c) for c in text
    )


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with Python's escapes for what a stream of ``encoding`` cannot show."""
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], _MOST_MARKS  # a mark at the start would modify the text before it
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
