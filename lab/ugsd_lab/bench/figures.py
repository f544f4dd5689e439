"""One measured value, and how values are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Figure", "percentile"]


@dataclass(frozen=True)
class Figure:
    """One measured value, and the most that it should be."""

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
    """Of some measurements."""
    return float(np.percentile(values, percent))
