"""The measured frontier: the quality of each setting, and what it discloses for it.

``ugsd-lab frontier`` measures it on test speakers; it is stored with the drafter as
``frontier.json``. It is valid only for the drafter whose files have the hashes that it contains,
and it is read strictly, so that an edited table cannot recommend what no measurement supports.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import MAX_SIGMA
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.decoding.risk_calibration import weight_hashes
from ugsd_sdk.errors import ConfigError

__all__ = [
    "FRONTIER_FILE",
    "Domain",
    "MeasuredFrontier",
    "MeasuredSetting",
    "Population",
    "SettingFigures",
]

FRONTIER_FILE = "frontier.json"
_REMEDY = (
    f"reinstall ugsd, or run `ugsd-lab frontier --out {FRONTIER_FILE}` and copy the file to the "
    "drafter's folder"
)
_MAX_ITEMS = 20_000
_DELTA: float = BudgetLimits.model_fields["delta"].default

Domain = Literal["in", "out", "both"]
"""Speech like that on which the drafter was trained, other speech, or both with equal weight."""

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


def _measured(disclosure: Disclosure) -> Disclosure:
    if disclosure not in {Disclosure.TOKENS, Disclosure.SUMMARY}:
        raise ValueError(f"settings are measured with tokens or summary, not {disclosure}")
    return disclosure


class Population(StrictModel):
    """The captions of one domain on which settings were measured."""

    corpora: tuple[str, ...]
    captions: _Count
    speakers: _Count
    attacked: str
    """The corpus on which speakers were identified."""
    attacked_speakers: _Count


class SettingFigures(StrictModel):
    """The results of one setting in one domain: means over all captions, asked about or not."""

    emotion: _Share
    """Share of captions that name the right emotion and no other."""
    emotion_low: _Share
    emotion_high: _Share
    """95 % interval over speakers."""
    gain: _Difference
    """``emotion`` minus that of the drafter alone, on the same captions."""
    gain_low: _Difference
    gain_high: _Difference
    claims: _Share
    """Share of all claims, about the emotion and about what was measured, that are right."""
    claims_low: _Share
    claims_high: _Share
    asked: _Share
    """Share of captions whose question is sent."""
    tokens: _Amount
    """Token positions disclosed per caption."""
    numbers: _Amount
    """Numbers of states disclosed per caption."""
    bytes_sent: _Amount
    """Bytes per caption."""
    p50_ms: _Amount
    """Median time to a caption, without a network."""
    leakage: _Share
    """By how much what is sent of a caption helps an attacker to identify its speaker: 0 as good as
    guessing, 1 always right. A caption that sends nothing counts as 0."""
    leakage_low: _Share
    leakage_high: _Share
    """95 % interval over the attacked speakers."""


class MeasuredSetting(StrictModel):
    """One setting and its results."""

    min_gain: Annotated[float, Field(ge=-1, le=1)] | None
    """As in the settings: a question is asked if its expected gain exceeds this; ``None``: nothing
    is ever sent."""
    disclosure: Annotated[Disclosure, AfterValidator(_measured)]
    sigma: Annotated[float, Field(gt=0, le=MAX_SIGMA, allow_inf_nan=False)] | None
    """Noise on states, in clip norms; ``None``: none."""
    figures: dict[Domain, SettingFigures]

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if self.sigma is not None and self.disclosure is Disclosure.TOKENS:
            raise ValueError("there is no noise without states")
        return self

    @property
    def epsilon(self) -> float:
        """Epsilon of the states of one caption at the default delta: 0 if no state is sent, and
        infinite if states have no noise."""
        if self.min_gain is None or self.disclosure is Disclosure.TOKENS:
            return 0.0
        if self.sigma is None:
            return inf
        cost = dp.privacy_cost(sensitivity=dp.STATE_SENSITIVITY, sigma=self.sigma, vectors=1)
        return dp.epsilon_of_privacy_cost(cost, _DELTA)

    def exposure(self, domain: Domain) -> tuple[float, float, float, float]:
        """Return what is given away, the weightiest first: leakage, epsilon, numbers and bytes."""
        own = self.figures[domain]
        return own.leakage, self.epsilon, own.numbers, own.bytes_sent

    def dominates(self, other: MeasuredSetting, domain: Domain) -> bool:
        """Return whether this setting is nowhere worse than ``other`` and somewhere better, by
        the share of right emotions and by :meth:`exposure`."""
        ours, theirs = self._costs(domain), other._costs(domain)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    def _costs(self, domain: Domain) -> tuple[float, ...]:
        return (-self.figures[domain].emotion, *self.exposure(domain))


class MeasuredFrontier(StrictModel):
    """``frontier.json``."""

    format: Annotated[int, exactly(1)]
    command: str
    """The command that measured the table."""
    weights: dict[str, str]
    """SHA-256, in hex, of the drafter's graphs, its vocabulary, its slots and its rejection
    predictor, by file."""
    verifier: str
    """SHA-256, in hex, of the verifier's graph. A device cannot check which verifier it uses."""
    populations: Annotated[dict[Domain, Population], Field(min_length=1)]
    settings: Annotated[tuple[MeasuredSetting, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_domains(self) -> Self:
        domains = set(self.populations)
        if any(set(one.figures) != domains for one in self.settings):
            raise ValueError("a setting was not measured in every domain")
        alone = [one for one in self.settings if one.min_gain is None]
        if any(sum(one.exposure(domain)) for one in alone for domain in one.figures):
            raise ValueError("the drafter alone discloses nothing")
        if all(one.min_gain is not None for one in self.settings):
            raise ValueError("the drafter alone was not measured")
        return self

    @classmethod
    def load(cls, folder: Path) -> MeasuredFrontier:
        """Read the table of the drafter in ``folder``.

        Raises :class:`ConfigError` if it is missing, damaged, of another release or of another
        drafter, and :class:`ModelError` if a file of the drafter is missing.
        """
        path = folder / FRONTIER_FILE
        try:
            found = read_json(cls, read_regular(path, MAX_TEXT_BYTES), max_items=_MAX_ITEMS)
        except (OSError, ValueError) as error:
            what = (
                f"cannot be read: {error.strerror}"
                if isinstance(error, OSError)
                else "was measured by another release, or is damaged"
            )
            raise ConfigError(f"{path} {what}: {_REMEDY}") from error
        if found.weights != weight_hashes(folder):
            raise ConfigError(
                f"{path} was measured with other weights, words, slots or another rejection "
                f"predictor: {_REMEDY}"
            )
        return found

    def undominated(self, domain: Domain) -> list[MeasuredSetting]:
        """Return the settings that no other one dominates; of equal ones the first."""
        different = {one._costs(domain): one for one in reversed(self.settings)}
        return [
            one
            for one in different.values()
            if not any(other.dominates(one, domain) for other in self.settings)
        ]
