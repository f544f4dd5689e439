"""What reports of one and of many devices have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field

__all__ = [
    "MAX_COUNT",
    "Amounts",
    "Count",
    "Counted",
    "Part",
    "Several",
    "Sum",
    "Time",
    "Verification",
]

MAX_COUNT = 2**63 - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""What one device counts."""
Sum = Annotated[int, Field(ge=0, lt=2**96)]
"""What up to 2^33 devices count together, though each says the most that a count can be."""
Time = Annotated[int, Field(ge=0, le=253_402_300_800)]
"""Up to the first second of the year 10,000."""

_Item = TypeVar("_Item")
Several = Annotated[tuple[_Item, ...], FailFast()]
"""Several items. Reading them stops at the first one that is wrong."""


class Part(BaseModel):
    """Closed and frozen; what is written under a field describes it in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Amounts(Part):
    """What left, in numbers."""

    frames: Sum = 0
    """Sealed frames and first flights."""
    blocks: Sum = 0
    """Frames that carried a block of tokens."""
    tokens: Sum = 0
    """Token positions that frames newly disclosed."""
    states: Sum = 0
    """Vectors of numbers about the clip, as far as records can be read."""
    hidden: Sum = 0
    """Frames that carried vectors, how many is not known: their records are erased or sealed."""
    bytes: Sum = 0
    """Of frames, padding and covers included."""

    @classmethod
    def total(cls, parts: Iterable[Amounts]) -> Amounts:
        """All together."""
        sums = dict.fromkeys(cls.model_fields, 0)
        for part in parts:
            for name in sums:
                sums[name] += getattr(part, name)
        return cls(**sums)


def _check_counts(amounts: Amounts) -> Amounts:
    if max(dict(amounts).values()) > MAX_COUNT:
        raise ValueError(f"a device counts to {MAX_COUNT} at most")
    return amounts


Counted = Annotated[Amounts, AfterValidator(_check_counts)]
"""What one device says that it counted, which is added to what others say."""


class Verification(Part):
    """Whether the whole log stands, all users' and all times' records."""

    outcome: Literal["verified", "failed", "empty", "missing", "unverified", "disputed"]
    """`empty` where nothing has left yet, `missing` where a log that is known did not come. On a
    page of many devices, a report without an export is `unverified`, and `disputed` where an export
    or another report contradicts it."""
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
