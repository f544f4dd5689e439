"""Text of reports for a terminal, in lines of at most 78 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

__all__ = ["titled_list", "wrapped"]

_WIDTH = 78


def titled_list(title: str, lines: Iterable[str]) -> str:
    """Return ``title`` with ``lines`` as the items of a list below it."""
    return "\n".join([wrapped(title), *(wrapped(line, "  - ") for line in lines)])


def wrapped(text: str, first: str = "") -> str:
    """Return ``text`` in lines; ``first`` begins the first one, and the others are indented by as
    much."""
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
