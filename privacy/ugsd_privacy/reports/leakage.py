"""What attackers got out of what leaves: the figures that reports and explanations quote.

They are measured in the lab, ``ugsd-lab attack``, on speakers whom neither the states' training nor
the attacker knew, and travel with the drafter as ``leakage.json``. They are figures of the weights
whose hashes they name, and of no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.bounded_json import check_json
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.strict_models import StrictModel

__all__ = ["LEAKAGE_FILE", "UNENROLLED", "Leakage", "LeakageFigure"]

_MAX_ITEMS = 20_000

LEAKAGE_FILE = "leakage.json"
UNENROLLED = "none"
"""The habit of a voice that was never heard."""

_Share = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class LeakageFigure(StrictModel):
    """One attack's figure, of the strongest attacker tried."""

    attack: Literal["speaker", "attribute", "content", "traffic"]
    measure: str
    """What is guessed and how it is counted."""
    corpus: str
    """Whose recordings."""
    seen: str
    """What the attacker saw: a disclosure, or a shape of traffic."""
    habit: str
    """How many earlier clips the habit held; ``none`` of a voice that was never heard, empty where
    none could matter."""
    value: _Share
    low: _Share | None
    high: _Share | None
    """95 % interval over speakers, where there are enough of them."""
    chance: _Share
    """What guessing reaches."""
    control: _Share | None
    """What the same attackers reach from what never leaves: the positive control."""
    attacker: str
    speakers: Annotated[int, Field(ge=0)]
    clips: Annotated[int, Field(ge=0)]

    @property
    def is_error_rate(self) -> bool:
        """Whether less is worse for the speaker."""
        return self.measure.startswith("EER")

    @property
    def advantage(self) -> float:
        """0 at chance, 1 where the attacker is always right."""
        if self.is_error_rate:
            return 1 - self.value / self.chance
        return (self.value - self.chance) / (1 - self.chance)


class Leakage(StrictModel):
    """``leakage.json``."""

    format: Annotated[int, Field(ge=1, le=1)]
    command: str
    """What printed the figures."""
    weights: dict[str, str]
    """SHA-256 of the drafter's graphs, in hex, by file."""
    leaks: tuple[LeakageFigure, ...]

    @classmethod
    def load(cls, folder: Path, weights: Mapping[str, str]) -> Leakage:
        """The figures that lie beside a drafter with those ``weights``.

        Raises :class:`LeakageNotMeasured` where there are none, or they are another drafter's.
        """
        path = folder / LEAKAGE_FILE
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
            check_json(data, max_items=_MAX_ITEMS)
            found = cls.model_validate_json(data)
        except (OSError, ValueError) as error:
            raise LeakageNotMeasured(
                f"{path}: nobody measured what this drafter's states tell: run `ugsd-lab attack`"
            ) from error
        if found.weights != dict(weights):
            raise LeakageNotMeasured(f"{path} is of other weights: run `ugsd-lab attack` again")
        return found

    def of(self, attack: str, seen: Iterable[str]) -> list[LeakageFigure]:
        """What one attack got from any of ``seen``."""
        wanted = set(seen)
        return [leak for leak in self.leaks if leak.attack == attack and leak.seen in wanted]
