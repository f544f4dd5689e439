"""Words joined in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["joined"]


def joined(words: Sequence[str]) -> str:
    """Return "a", "a and b", or "a, b and c"; nothing for none."""
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last
