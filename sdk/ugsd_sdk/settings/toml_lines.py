"""Find the line of each key in a TOML file, which the standard library's reader does not report.

The scanner reads keys and tables (TOML 1.0), and skips values by finding where they end. In a text
that is not valid TOML it finds the keys that it can, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["MAX_KEY_PARTS", "KeyLine", "key_lines"]

MAX_KEY_PARTS = 16
"""Most parts of a dotted key; one more is read, so that a longer key is noticed."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_LONG_QUOTES = ('"""', "'''")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
_DEEPEST = 50

Path = tuple[str, ...]


class KeyLine(NamedTuple):
    """A key's full path and its line, counted from 1."""

    path: Path
    line: int
    ends: bool
    """Whether it heads a table or has a value; otherwise it is the beginning of a dotted key."""


def key_lines(text: str) -> Iterator[KeyLine]:
    """Yield every key of ``text`` in order; a repeated key is yielded each time."""
    return _Scanner(text).keys()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0

    def keys(self) -> Iterator[KeyLine]:
        table: Path = ()
        while self._more():
            start = self._at
            if self._text[start] == "[":
                self._at += 2 if self._text.startswith("[[", start) else 1
                table = self._dotted()
                yield KeyLine(table, self._line_of(start), ends=True)
                self._skip_line()
            else:
                yield from self._pair(table, 0)
            if self._at == start:
                self._at += 1

    def _pair(self, table: Path, depth: int) -> Iterator[KeyLine]:
        """Yield a key, then the keys of its inline tables."""
        line = self._line_of(self._at)
        path = self._dotted()
        if not path:
            self._skip_line()
            return
        for length in range(1, len(path) + 1):
            yield KeyLine(table + path[:length], line, ends=length == len(path))
        if not self._passes("=", _SPACE):
            self._skip_line()
            return
        yield from self._value(table + path, depth)

    def _value(self, path: Path, depth: int) -> Iterator[KeyLine]:
        self._blank(_SPACE)
        if self._passes("{"):
            while depth < _DEEPEST and self._more() and not self._passes("}"):
                start = self._at
                if not self._passes(","):
                    yield from self._pair(path, depth + 1)
                if self._at == start:
                    return
        elif self._passes("["):
            while depth < _DEEPEST and self._more() and not self._passes("]"):
                start = self._at
                if not self._passes(","):
                    yield from self._value(path, depth + 1)
                if self._at == start:
                    return
        elif self._text.startswith(_LONG_QUOTES, self._at):
            if len(self._take(_STRING) or "") < 2 * len(_LONG_QUOTES[0]):
                self._at = len(self._text)  # the string is not closed
        else:
            self._take(_STRING) or self._take(_SCALAR)

    def _dotted(self) -> Path:
        parts = []
        while True:
            self._blank(_SPACE)
            if (quoted := self._take(_STRING)) is not None:
                parts.append(_unquoted(quoted))
            elif (bare := self._take(_BARE_KEY)) is not None:
                parts.append(bare)
            else:
                break
            if len(parts) > MAX_KEY_PARTS or not self._passes(".", _SPACE):
                break
        return tuple(parts)

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if not match or not match[0]:
            return None
        self._at = match.end()
        return match[0]

    def _passes(self, sign: str, blank: re.Pattern[str] = _BLANK) -> bool:
        self._blank(blank)
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _blank(self, blank: re.Pattern[str] = _BLANK) -> None:
        match = blank.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _more(self) -> bool:
        self._blank()
        return self._at < len(self._text)

    def _skip_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _line_of(self, at: int) -> int:
        """Return the line of a position, counting on from the last call to stay linear."""
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line


def _unquoted(quoted: str) -> str:
    return quoted[1:-1] if quoted[0] == "'" else _ESCAPE.sub(_unescaped, quoted[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 1:
        return _ESCAPED.get(escape, escape)
    code = int(escape[1:], 16)
    return chr(code) if code < 0x110000 else ""
