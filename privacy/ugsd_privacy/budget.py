"""Caps on what may be sent, and the pure check against them.

*Blocks* are frames that contain a block. *Tokens* are the token positions that a frame discloses
for the first time: those of its prefix and its block. *Frames* are sealed frames and handshake
messages; *bytes* are their bytes, including padding and cover frames. *Epsilon* is the composed
epsilon of the noised states of a window, at ``delta`` (see :mod:`ugsd_privacy.dp.accounting`).
States without noise have no finite epsilon, so any cap on epsilon blocks them.

A handshake counts in every window except a caption's. An *hour* is a UTC hour and a *day* is 24 of
them, by a clock that never moves backwards (see :mod:`ugsd_privacy.ledger`). A *lifetime* ends with
a reset, which is logged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ugsd_privacy.dp.accounting import (
    UNBOUNDED_COST,
    epsilon_of_privacy_cost,
    privacy_cost_of_epsilon,
)
from ugsd_privacy.errors import BudgetExceeded

__all__ = ["CAPS", "DELTA", "MEASURES", "WINDOWS", "BudgetLimits", "Usage", "Window", "check_caps"]

Window = Literal["caption", "hour", "day", "lifetime"]
MEASURES = ("blocks", "tokens", "frames", "bytes", "epsilon")
WINDOWS: tuple[Window, ...] = ("caption", "hour", "day", "lifetime")
CAPS = tuple(f"{measure}_per_{window}" for window in WINDOWS for measure in MEASURES)
"""The names of all caps, in the order in which they are checked."""

DELTA = 1e-6
"""The default delta at which epsilon is computed."""

_Cap = Annotated[int, Field(strict=True, ge=0, lt=2**63)] | None
_Epsilon = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class BudgetLimits(BaseModel):
    """The caps of one user. ``None`` means no cap; 0 means that nothing may be sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks_per_caption: _Cap = 8
    tokens_per_caption: _Cap = 96
    frames_per_caption: _Cap = 8
    bytes_per_caption: _Cap = 4096
    epsilon_per_caption: _Epsilon = None
    blocks_per_hour: _Cap = 500
    tokens_per_hour: _Cap = 5000
    frames_per_hour: _Cap = 1000
    bytes_per_hour: _Cap = 2**19
    epsilon_per_hour: _Epsilon = None
    blocks_per_day: _Cap = 2000
    tokens_per_day: _Cap = 20_000
    frames_per_day: _Cap = 4000
    bytes_per_day: _Cap = 2**20
    epsilon_per_day: _Epsilon = None
    blocks_per_lifetime: _Cap = None
    tokens_per_lifetime: _Cap = None
    frames_per_lifetime: _Cap = None
    bytes_per_lifetime: _Cap = None
    epsilon_per_lifetime: _Epsilon = None
    delta: Annotated[float, Field(ge=1e-100, le=0.1)] = DELTA
    """Delta of every epsilon: the probability with which its bound may fail."""

    @classmethod
    def without_caps(cls, **caps: Any) -> Self:
        """Return limits with only these caps."""
        return cls.model_validate(dict.fromkeys(CAPS) | caps)

    def with_stricter_caps(self, caps: Mapping[str, float]) -> Self:
        """Return these limits, with each cap replaced by that of ``caps`` if it is smaller.

        A cap on epsilon is meant at ``DELTA`` or less. If these limits have a larger delta, it is
        reduced to ``DELTA``, because at a larger delta the same cap would allow more.
        """
        smaller = {
            cap: value
            for cap, value in caps.items()
            if (own := getattr(self, cap)) is None or value < own
        }
        if any(cap.startswith("epsilon") for cap in caps):
            smaller["delta"] = min(self.delta, DELTA)
        return self.model_copy(update=smaller) if smaller else self

    def remaining(self, used: Mapping[Window, Usage]) -> dict[str, float]:
        """Return what each cap still allows. A window that is not in ``used`` is unused."""
        return {
            f"{measure}_per_{window}": max(
                0.0, limit - used.get(window, Usage()).measured(measure, self.delta)
            )
            for window, measure, limit in _set_caps(self)
        }


@dataclass(frozen=True, slots=True)
class Usage:
    """Amounts that were sent, or would be sent; never negative."""

    blocks: int = 0
    tokens: int = 0
    frames: int = 0
    bytes: int = 0
    privacy_cost: int = 0
    """Privacy cost of noised states, see :func:`ugsd_privacy.dp.accounting.privacy_cost`;
    ``UNBOUNDED_COST`` if any were sent without noise."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            blocks=self.blocks + other.blocks,
            tokens=self.tokens + other.tokens,
            frames=self.frames + other.frames,
            bytes=self.bytes + other.bytes,
            privacy_cost=min(self.privacy_cost + other.privacy_cost, UNBOUNDED_COST),
        )

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """All five amounts, in the order of the fields."""
        return self.blocks, self.tokens, self.frames, self.bytes, self.privacy_cost

    def measured(self, measure: str, delta: float) -> float:
        """Return one of ``MEASURES``; epsilon is at ``delta``."""
        if measure == "epsilon":
            return epsilon_of_privacy_cost(self.privacy_cost, delta)
        count: int = getattr(self, measure)
        return count


def check_caps(limits: BudgetLimits, wanted: Usage, used: Mapping[Window, Usage]) -> None:
    """Raise :class:`BudgetExceeded` for the first cap that ``wanted`` would exceed.

    ``used`` is what was used so far, by window; caps of other windows are not checked. Using a cap
    up exactly is allowed.
    """
    for window, measure, limit in _set_caps(limits):
        before = used.get(window)
        if before is None:
            continue
        attribute = "privacy_cost" if measure == "epsilon" else measure
        allowed = privacy_cost_of_epsilon(limit, limits.delta) if measure == "epsilon" else limit
        so_far, more = getattr(before, attribute), getattr(wanted, attribute)
        if more > 0 and so_far + more > allowed:
            raise _exceeded(f"{measure}_per_{window}", measure, limit, before, wanted, limits.delta)


@lru_cache(maxsize=64)
def _set_caps(limits: BudgetLimits) -> tuple[tuple[Window, str, float], ...]:
    """Return window, measure and limit of each cap that is set, in the order of ``CAPS``."""
    every = (
        (window, measure, getattr(limits, f"{measure}_per_{window}"))
        for window in WINDOWS
        for measure in MEASURES
    )
    return tuple(cap for cap in every if cap[2] is not None)


def _exceeded(
    cap: str, measure: str, limit: float, before: Usage, wanted: Usage, delta: float
) -> BudgetExceeded:
    used = before.measured(measure, delta)
    after = (before + wanted).measured(measure, delta)
    # What was sent without noise before does not make the wanted amount unbounded.
    more = after - used if math.isfinite(after) else wanted.measured(measure, delta)
    return BudgetExceeded(cap, limit=limit, used=used, wanted=more)
