"""Caps on what may be sent, and the pure check against them.

*Blocks* are frames that contain a block. *Tokens* are the token positions that a frame discloses
for the first time: those of its prefix and its block. *Frames* are sealed frames and handshake
messages; *bytes* are their bytes, including padding and cover frames. *Epsilon* is the composed
epsilon of the noised states of a window, at ``delta`` (see :mod:`ugsd_privacy.dp.accounting`).
States without noise have no finite epsilon, so any cap on epsilon blocks them.

A handshake counts in every window except a caption's and a recording's. A *recording* is a stream
or a long file of which each utterance has a caption; the caps of that window do not apply to
captions that belong to none. An *hour* is a UTC hour and a *day* is 24 of them, by a clock that
never moves backwards (see :mod:`ugsd_privacy.ledger`). A *lifetime* ends with a reset, which is
logged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from ugsd_privacy.dp.accounting import (
    UNBOUNDED_COST,
    epsilon_of_privacy_cost,
    privacy_cost_of_epsilon,
)
from ugsd_privacy.errors import BudgetExceeded

__all__ = [
    "CAPS",
    "DELTA",
    "MEASURES",
    "WINDOWS",
    "BudgetLimits",
    "Cap",
    "Usage",
    "Window",
    "check_caps",
    "set_caps",
]

Window = Literal["caption", "recording", "hour", "day", "lifetime"]
MEASURES = ("blocks", "tokens", "frames", "bytes", "epsilon")
WINDOWS: tuple[Window, ...] = ("caption", "recording", "hour", "day", "lifetime")
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
    blocks_per_recording: _Cap = None
    tokens_per_recording: _Cap = None
    frames_per_recording: _Cap = None
    bytes_per_recording: _Cap = None
    epsilon_per_recording: _Epsilon = None
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
            cap.name: max(
                0.0, cap.limit - used.get(cap.window, Usage()).measured(cap.measure, self.delta)
            )
            for cap in set_caps(self)
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
    for cap in set_caps(limits):
        before = used.get(cap.window)
        if before is not None and not cap.allows(wanted, before):
            raise _exceeded(cap, before, wanted, limits.delta)


class Cap(NamedTuple):
    """A cap that is set."""

    window: Window
    measure: str
    limit: float
    allowed: int
    """The limit as a sum of charges: for epsilon, the largest privacy cost within it."""

    @property
    def name(self) -> str:
        """One of ``CAPS``."""
        return f"{self.measure}_per_{self.window}"

    def charge(self, usage: Usage) -> int:
        """Return the amount of ``usage`` that is charged to this cap, which adds up."""
        charge: int = getattr(usage, "privacy_cost" if self.measure == "epsilon" else self.measure)
        return charge

    def allows(self, wanted: Usage, used: Usage) -> bool:
        """Return whether ``wanted`` may follow ``used``: it needs nothing of the cap, or fits."""
        more = self.charge(wanted)
        return more <= 0 or self.charge(used) + more <= self.allowed


@lru_cache(maxsize=64)
def set_caps(limits: BudgetLimits) -> tuple[Cap, ...]:
    """Return the caps that are set, in the order of ``CAPS``."""
    return tuple(
        Cap(window, measure, limit, allowed)
        for window in WINDOWS
        for measure in MEASURES
        if (limit := getattr(limits, f"{measure}_per_{window}")) is not None
        for allowed in [
            privacy_cost_of_epsilon(limit, limits.delta) if measure == "epsilon" else limit
        ]
    )


def _exceeded(cap: Cap, before: Usage, wanted: Usage, delta: float) -> BudgetExceeded:
    used = before.measured(cap.measure, delta)
    after = (before + wanted).measured(cap.measure, delta)
    # What was sent without noise before does not make the wanted amount unbounded.
    more = after - used if math.isfinite(after) else wanted.measured(cap.measure, delta)
    return BudgetExceeded(cap.name, limit=cap.limit, used=used, wanted=more)
