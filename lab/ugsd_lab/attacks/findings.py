"""What an attack found: one number with its interval, its chance level and its negative control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import Any, Literal

__all__ = ["Finding", "Report", "as_json", "strongest"]

Attack = Literal["speaker", "attribute", "content", "traffic"]


@dataclass(frozen=True)
class Finding:
    """How well one attack does against speakers that neither it nor the states' training knew."""

    attack: Attack
    measure: str
    """What is guessed and how it is counted: ``identification``, ``EER``, ``gender``."""
    corpus: str
    """Whose speakers are attacked; ``all`` where they are told apart by corpus."""
    seen: str
    """What the attacker saw: a disclosure, ``evidence`` for the positive control, ``sizes``."""
    habit: str
    """How many earlier clips the habit held; empty where none could matter."""
    value: float
    chance: float
    """What an attacker who sees nothing reaches."""
    attacker: str
    """The strongest of those tried, and what of the seen it read."""
    low: float = float("nan")
    high: float = float("nan")
    """95 % interval, bootstrapped over speakers."""
    permuted: float = float("nan")
    """The same attacker where the labels are permuted: the negative control, at chance."""
    speakers: int = 0
    clips: int = 0
    lower_is_stronger: bool = False
    """True of error rates."""

    @property
    def advantage(self) -> float:
        """From 0 at chance to 1 where the attacker is always right; below 0 is worse than chance.

        Of an error rate: how much of the error that chance makes is gone.
        """
        if self.lower_is_stronger:
            return 1 - self.value / self.chance
        return (self.value - self.chance) / (1 - self.chance)


def strongest(findings: Iterable[Finding]) -> Finding:
    """The one with the largest advantage; those that are not defined come last."""

    def strength(finding: Finding) -> float:
        return float("-inf") if isnan(finding.value) else finding.advantage

    return max(findings, key=strength)


@dataclass(frozen=True)
class Report:
    """Everything that ``ugsd-lab attack`` found of one drafter."""

    drafter: str
    home: tuple[str, ...]
    """The corpora that its states were trained on: of these only the test speakers are attacked."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    quick: bool = False

    def of(self, attack: Attack) -> list[Finding]:
        """Those of one attack."""
        return [finding for finding in self.findings if finding.attack == attack]

    def with_findings(self, more: Sequence[Finding], notes: Sequence[str] = ()) -> Report:
        """The same with ``more``."""
        return replace(self, findings=(*self.findings, *more), notes=(*self.notes, *notes))


def as_json(report: Report) -> dict[str, Any]:
    """For one JSON object; what is not a number is null."""
    findings = [
        _without_nan(asdict(finding) | {"advantage": finding.advantage})
        for finding in report.findings
    ]
    return {
        "drafter": report.drafter,
        "home": list(report.home),
        "quick": report.quick,
        "findings": findings,
        "notes": list(report.notes),
    }


def _without_nan(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and isnan(value) else value
        for name, value in fields.items()
    }
