"""How much a caption says."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CaptionLength"]


class CaptionLength(StrEnum):
    """How long a caption is. It says the same, in more or fewer clauses."""

    SHORT = "short"
    """At most 12 words."""
    NORMAL = "normal"
    """About 20 words."""
    RICH = "rich"
    """40 to 60 words, in two or three sentences."""
