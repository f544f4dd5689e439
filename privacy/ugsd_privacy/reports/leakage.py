"""What attackers learn from what is sent: the figures that reports and explanations quote.

``ugsd-lab attack`` measures them on speakers that were unknown to the attacker and to the training
of the states. They are stored beside the drafter as ``leakage.json``, and are valid only for the
weights whose hashes they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.strict_models import StrictModel, exactly

__all__ = ["LEAKAGE_FILE", "UNENROLLED", "Leakage", "LeakageFigure"]

_MAX_ITEMS = 20_000

LEAKAGE_FILE = "leakage.json"
UNENROLLED = "none"
"""The value of ``profile`` for an unenrolled speaker."""

_Share = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class LeakageFigure(StrictModel):
    """The result of one attack, by the strongest attacker that was tried."""

    attack: Literal["speaker", "attribute", "content", "traffic"]
    measure: str
    """What is guessed, and the metric."""
    corpus: str
    """The corpus of the recordings."""
    seen: str
    """What the attacker saw: a disclosure level, or a traffic shape."""
    profile: str
    """Number of earlier clips in the speaker profile; ``none`` for an unenrolled speaker, empty if
    the profile cannot matter."""
    value: _Share
    low: _Share | None
    high: _Share | None
    """95 % interval over speakers, if there are enough of them."""
    chance: _Share
    """The value that guessing reaches."""
    control: _Share | None
    """The positive control: what the same attackers reach from data that is never sent."""
    attacker: str
    speakers: Annotated[int, Field(ge=0)]
    clips: Annotated[int, Field(ge=0)]

    @property
    def is_error_rate(self) -> bool:
        """Whether a smaller value is worse for the speaker."""
        return self.measure.startswith("EER")

    @property
    def advantage(self) -> float:
        """The advantage over guessing: 0 at chance and if guessing is always right, 1 if the
        attacker is always right."""
        if self.chance == 1:
            return 0.0
        if self.is_error_rate:
            return 1 - self.value / self.chance
        return (self.value - self.chance) / (1 - self.chance)


class Leakage(StrictModel):
    """The content of ``leakage.json``."""

    format: Annotated[int, exactly(1)]
    command: str
    """The command that printed the figures."""
    weights: dict[str, str]
    """SHA-256 of the drafter's graphs in hex, by file name."""
    leaks: tuple[LeakageFigure, ...]

    @classmethod
    def load(cls, folder: Path, weights: Mapping[str, str]) -> Leakage:
        """Read the figures from ``folder``, of a drafter with these ``weights``.

        Raises :class:`LeakageNotMeasured` if there are none, or if they are for other weights.
        """
        path = folder / LEAKAGE_FILE
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
            found = read_json(cls, data, max_items=_MAX_ITEMS)
        except (OSError, ValueError) as error:
            raise LeakageNotMeasured(
                f"{path}: the leakage of this drafter was not measured: run `ugsd-lab attack`"
            ) from error
        if found.weights != dict(weights):
            raise LeakageNotMeasured(f"{path} is for other weights: run `ugsd-lab attack` again")
        return found

    def of(self, attack: str, seen: Iterable[str]) -> list[LeakageFigure]:
        """Return the figures of one attack on any of ``seen``."""
        wanted = set(seen)
        return [leak for leak in self.leaks if leak.attack == attack and leak.seen in wanted]
