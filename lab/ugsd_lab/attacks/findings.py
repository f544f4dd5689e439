"""The result of an attack: one number with its interval, its chance level and its negative
control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import Any, Literal

from ugsd_lab.evaluation.intervals import Measure, draws, interval

__all__ = ["Finding", "Report", "as_json", "strongest", "with_interval"]

Attack = Literal["speaker", "attribute", "content", "traffic"]


@dataclass(frozen=True)
class Finding:
    """How well one attack does against speakers that neither it nor the states' training knew. The
    field names are keys of the JSON report."""

    attack: Attack
    measure: str
    """What is guessed and how it is counted: ``identification``, ``EER``, ``gender``."""
    corpus: str
    """The corpus whose speakers are attacked; ``all`` if the attack spans all corpora."""
    seen: str
    """What the attacker saw: a disclosure level, ``evidence`` (the audio embedding, the positive
    control), or a traffic shape."""
    profile: str
    """How many earlier clips the speaker profile held; empty if it cannot matter."""
    value: float
    chance: float
    """What an attacker who sees nothing reaches."""
    attacker: str
    """The strongest attacker tried, and the reading of the observation that it used."""
    low: float = float("nan")
    high: float = float("nan")
    """95 % interval, bootstrapped over speakers."""
    permuted: float = float("nan")
    """The same attacker's result with permuted labels: the negative control, at chance."""
    speakers: int = 0
    clips: int = 0
    lower_is_stronger: bool = False
    """True for error rates."""

    @property
    def advantage(self) -> float:
        """0 at chance, 1 if the attacker is always right, below 0 if it is worse than chance.

        For an error rate: the share of the chance error that is gone. 0 if guessing is always
        right, so that there is nothing to learn.
        """
        if self.chance == 1:
            return 0.0
        if self.lower_is_stronger:
            return 1 - self.value / self.chance
        return (self.value - self.chance) / (1 - self.chance)


def strongest(findings: Iterable[Finding]) -> Finding:
    """Return the finding with the largest advantage; undefined ones come last."""

    def strength(finding: Finding) -> float:
        return float("-inf") if isnan(finding.value) else finding.advantage

    return max(findings, key=strength)


def with_interval(finding: Finding, measure: Measure) -> Finding:
    """Return the finding with the 95 % interval of its measure."""
    low, high = interval(measure.redrawn(draws(len(measure.sums))))
    return replace(finding, low=low, high=high)


@dataclass(frozen=True)
class Report:
    """Everything that ``ugsd-lab attack`` found for one drafter."""

    drafter: str
    in_domain: tuple[str, ...]
    """The corpora that the states were trained on; only their test speakers are attacked."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    quick: bool = False
    sigma: float | None = None
    """Standard deviation of the noise on states, in units of the clip norm; ``None``: no noise."""

    def of(self, attack: Attack) -> list[Finding]:
        """Return the findings of one attack."""
        return [finding for finding in self.findings if finding.attack == attack]

    def with_findings(self, more: Sequence[Finding], notes: Sequence[str] = ()) -> Report:
        """Return the report with more findings and notes appended."""
        return replace(self, findings=(*self.findings, *more), notes=(*self.notes, *notes))


def as_json(report: Report) -> dict[str, Any]:
    """Return one JSON object; values that are not a number become null."""
    findings = [
        _without_nan(asdict(finding) | {"advantage": finding.advantage})
        for finding in report.findings
    ]
    return {
        "drafter": report.drafter,
        "in_domain": list(report.in_domain),
        "quick": report.quick,
        "noise": report.sigma,
        "findings": findings,
        "notes": list(report.notes),
    }


def _without_nan(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and isnan(value) else value
        for name, value in fields.items()
    }
