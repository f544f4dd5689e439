"""Measured values and their percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Figure", "percentile"]


@dataclass(frozen=True)
class Figure:
    """A measured value and its goal, an upper limit."""

    name: str
    value: float
    unit: str
    goal: float | None = None

    @property
    def goal_text(self) -> str:
        return "" if self.goal is None else f"<= {self.goal:,g} {self.unit}"

    @property
    def mark(self) -> str:
        return "" if self.goal is None else "met" if self.value <= self.goal else "missed"

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "mark": self.mark}


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of some measurements."""
    return float(np.percentile(values, percent))
