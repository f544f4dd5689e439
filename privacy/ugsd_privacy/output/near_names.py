"""What somebody who wrote a wrong name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["choices", "near_name"]

_MAX_CHARACTERS = 256
"""Longest name that is compared: the comparison takes the square of its length."""
_MISSPELT = 0.8
"""Least similarity, 0 to 1, of two spellings of one name: one letter of five is wrong."""
_SIMILAR = 0.5
"""Least similarity at which a choice is named first."""


def near_name(given: str, names: Iterable[str]) -> str | None:
    """Return the name of which ``given`` is a misspelling; ``None`` if it is close to none.

    Case does not matter.
    """
    found = _closest(given, list(names), _MISSPELT)
    return found[0] if found else None


def choices(given: object, names: Iterable[str]) -> str:
    """Return ``names`` as text for a message, "free or starter", with those that ``given`` is
    similar to first."""
    known = list(names)
    near = _closest(given, known, _SIMILAR) if isinstance(given, str) else []
    *most, last = [*near, *(name for name in known if name not in near)]
    return f"{', '.join(most)} or {last}" if most else last


def _closest(given: str, names: list[str], least: float) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    if len(given) > _MAX_CHARACTERS or not names:
        return []
    return [by_lower[low] for low in get_close_matches(given.lower(), by_lower, cutoff=least)]
