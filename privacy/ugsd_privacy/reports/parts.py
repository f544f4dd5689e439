"""Models that reports of one and of many devices share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, FailFast, Field

from ugsd_privacy.strict_models import DescribedModel

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
"""A count of one device."""
Sum = Annotated[int, Field(ge=0, lt=2**96)]
"""A sum over devices: 2^33 of them fit, even if each has the largest possible count."""
Time = Annotated[int, Field(ge=0, le=253_402_300_800)]
"""Unix time in seconds, up to the start of the year 10,000."""

_Item = TypeVar("_Item")
Several = Annotated[tuple[_Item, ...], FailFast()]
"""A tuple of items. Validation stops at the first invalid one."""


class Part(DescribedModel):
    """Base of the models."""


class Amounts(Part):
    """Amounts that were sent."""

    frames: Sum = 0
    """Number of sealed frames and handshake messages."""
    blocks: Sum = 0
    """Number of frames with a block of tokens."""
    tokens: Sum = 0
    """Number of token positions that frames disclosed for the first time."""
    states: Sum = 0
    """Number of states, numbers about the clip, in the records that can be read."""
    hidden: Sum = 0
    """Number of frames with an unknown number of states: their records are erased or sealed."""
    bytes: Sum = 0
    """Size of all frames, including padding and cover frames."""

    @classmethod
    def total(cls, parts: Iterable[Amounts]) -> Amounts:
        """Return the sum of ``parts``."""
        sums = dict.fromkeys(cls.model_fields, 0)
        for part in parts:
            for name in sums:
                sums[name] += getattr(part, name)
        return cls(**sums)


def _check_counts(amounts: Amounts) -> Amounts:
    if max(dict(amounts).values()) > MAX_COUNT:
        raise ValueError(f"a count of one device is at most {MAX_COUNT}")
    return amounts


Counted = Annotated[Amounts, AfterValidator(_check_counts)]
"""Amounts of one device."""


class Verification(Part):
    """Result of verifying a whole log: the records of all users and all times."""

    outcome: Literal[
        "verified", "failed", "other version", "empty", "missing", "unverified", "disputed"
    ]
    """`empty` if nothing has been sent yet, `missing` if a known log was not given, `other version`
    if another release wrote it, which alone can verify it. In a report of
    many devices, a report without an export is `unverified`, and `disputed` if an export or another
    report contradicts it."""
    message: str
    """The finding in words."""
    index: Count | None = None
    """Index of the record at fault, if a failure is at one record."""
    size: Count = 0
    """Number of records that were verified."""
    root: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Root hash of the Merkle tree over them, hex."""
    checkpoints: Count = 0
    """Number of signed checkpoints that match the log."""
    erased: Count = 0
    """Number of records whose body the owner erased: they count, but their content is unknown."""
    unread: Count = 0
    """Number of records that stayed sealed, because the owner's key was not given."""
