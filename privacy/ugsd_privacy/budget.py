"""Caps on what may leave, and the pure check of them.

*Blocks* are passages that carry a block. *Tokens* are the token positions that a passage newly
discloses: its prefix and its block. *Bytes* are those of the sealed frames, padding and covers
included; handshakes count in the day's bytes and in no caption's. A *day* is a UTC day of the
device's clock that never moves backwards (see :mod:`ugsd_privacy.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ugsd_privacy.errors import BudgetExceeded

__all__ = ["BudgetLimits", "Usage", "check_caps"]

_Cap = Annotated[int, Field(strict=True, ge=0)] | None


class BudgetLimits(BaseModel):
    """The caps of one user. ``None`` means no cap, 0 that nothing may leave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks_per_caption: _Cap = 8
    tokens_per_caption: _Cap = 96
    bytes_per_caption: _Cap = 4096
    blocks_per_day: _Cap = 2000
    tokens_per_day: _Cap = 20_000
    bytes_per_day: _Cap = 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What left, or would leave: counts, never negative."""

    blocks: int = 0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            blocks=self.blocks + other.blocks,
            tokens=self.tokens + other.tokens,
            bytes=self.bytes + other.bytes,
        )


def check_caps(limits: BudgetLimits, wanted: Usage, *, caption: Usage | None, day: Usage) -> None:
    """Raise :class:`BudgetExceeded` with the first cap that ``wanted`` would pass.

    ``caption`` and ``day`` are what was used before; no caption, no caps per caption. Using a cap
    up exactly is allowed.
    """
    windows = {"day": day} if caption is None else {"caption": caption, "day": day}
    for window, used in windows.items():
        for measure in ("blocks", "tokens", "bytes"):
            cap = f"{measure}_per_{window}"
            limit: int | None = getattr(limits, cap)
            spent, more = getattr(used, measure), getattr(wanted, measure)
            if limit is not None and more > 0 and spent + more > limit:
                raise BudgetExceeded(cap, limit=limit, used=spent, wanted=more)
