"""One attribute of a voice: its value, how sure it is, and who decided it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from ugsd_privacy.strict_models import DescribedModel

__all__ = ["SAID_ABOVE", "Attribute", "DecidedBy"]

SAID_ABOVE = 0.9
"""A measured attribute is worded only if it is at least so likely to be right."""

_Probability = Annotated[float, Field(ge=0, le=1)]


class DecidedBy(StrEnum):
    """Who decided a value."""

    DEVICE = "device"
    VERIFIER = "verifier"


class Attribute(DescribedModel):
    """One attribute of a voice."""

    value: str | None = None
    """One of the slot's values; ``None`` if it could not be measured."""
    confidence: _Probability | None = None
    """Probability that :attr:`value` is right; ``None`` without a value, and for a value that the
    verifier chose, whose probability is not sent."""
    distribution: dict[str, _Probability] = {}  # noqa: RUF012  # pydantic copies it
    """The device's probability of each value; empty where there are no classes."""
    measured: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The measured number, in the unit of the attribute."""
    decided_by: DecidedBy = DecidedBy.DEVICE
    is_said: bool = False
    """Whether the caption's text states it."""

    def __hash__(self) -> int:
        kept = frozenset(self.distribution.items())
        return hash(
            (self.value, self.confidence, kept, self.measured, self.decided_by, self.is_said)
        )
