"""What reports of one and of many devices have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Amounts", "Count", "Part", "Time", "Verification"]

Count = Annotated[int, Field(ge=0, lt=2**63)]
Time = Annotated[int, Field(ge=0, le=253_402_300_800)]
"""Up to the first second of the year 10,000."""


class Part(BaseModel):
    """Closed and frozen; what is written under a field describes it in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Amounts(Part):
    """What left, in numbers."""

    frames: Count = 0
    """Sealed frames and first flights."""
    blocks: Count = 0
    """Frames that carried a block of tokens."""
    tokens: Count = 0
    """Token positions that frames newly disclosed."""
    states: Count = 0
    """Vectors of numbers about the clip, as far as records can be read."""
    hidden: Count = 0
    """Frames that carried vectors, how many is not known: their records are erased or sealed."""
    bytes: Count = 0
    """Of frames, padding and covers included."""

    @classmethod
    def total(cls, parts: Iterable[Amounts]) -> Amounts:
        """All together."""
        sums = dict.fromkeys(cls.model_fields, 0)
        for part in parts:
            for name in sums:
                sums[name] += getattr(part, name)
        return cls(**sums)


class Verification(Part):
    """Whether the whole log stands, all users' and all times' records."""

    outcome: Literal["verified", "failed", "empty", "missing"]
    """`empty` where nothing has left yet, `missing` where a log that is known did not come."""
    message: str
    """What was found, in words."""
    index: Count | None = None
    """Of a failure, the record at fault, if one is."""
    size: Count = 0
    """Records that were verified."""
    root: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Of the Merkle tree over them, hex."""
    checkpoints: Count = 0
    """Signed ones that were matched."""
    erased: Count = 0
    """Records whose body the owner erased: they count, what left is not told."""
    unread: Count = 0
    """Records that were sealed, and no owner's key was given to read them."""
