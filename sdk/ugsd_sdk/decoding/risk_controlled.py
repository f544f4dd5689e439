"""Minimum escalation: the least disclosure that reaches the quality asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ugsd_privacy.protocol.channel import TrafficShape
from ugsd_privacy.protocol.messages import Disclosure

from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.risk_calibration import CalibratedSetting, RiskCalibration
from ugsd_sdk.errors import ConfigError

if TYPE_CHECKING:
    from ugsd_sdk.settings.config import Settings

__all__ = ["RiskControlledPolicy", "least_disclosure"]

_LADDER = tuple(Disclosure)


@dataclass(frozen=True)
class RiskControlledPolicy:
    """The :class:`UncertaintyPolicy` that discloses least of those measured to reach a target.

    Give exactly one target. ``target_risk``: mean share of a caption's blocks in which a drafted
    token stands that the verifier would have rejected; reached where the measured bound is no
    larger. Learn-then-Test (Angelopoulos et al. 2021): for a target fixed before looking at the
    figures, the true risk exceeds it with probability at most ``quality.delta``. ``target_gain``:
    gap closed in emotion accuracy; reached where the lower end of its 95 % interval over speakers
    is no smaller. ``ceiling`` is the most that may be disclosed.

    Valid for captions exchangeable with those of the calibration speakers, made with the measured
    verifier; not for new speakers or corpora: ``quality.checks`` shows what is lost there. Void for
    a caption for which a budget refused, a deadline passed, or whose voice was not known well
    enough (:class:`~ugsd_sdk.decoding.policy.Reserved`): its ``unverified_reason`` says so.

    Raises :class:`ConfigError` where nothing reaches the target, naming what can be reached.
    """

    calibration: RiskCalibration
    target_risk: float | None = None
    target_gain: float | None = None
    ceiling: Disclosure = Disclosure.ALL_STATES
    chosen: CalibratedSetting = field(init=False)
    """What was measured of the disclosure and the threshold in use."""

    def __post_init__(self) -> None:
        if (self.target_risk is None) == (self.target_gain is None):
            raise ConfigError("give target_risk or target_gain, and not both")
        chosen = least_disclosure(
            self.calibration.settings, self.target_risk, self.target_gain, ceiling=self.ceiling
        )
        if chosen is None:
            raise ConfigError(self._unreachable_message())
        object.__setattr__(self, "chosen", chosen)

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return UncertaintyPolicy(self.chosen.threshold, self.chosen.disclosure)(block, budget)

    @classmethod
    def from_settings(cls, settings: Settings, folder: Path | None) -> RiskControlledPolicy | None:
        """The one that ``settings`` ask of the drafter in ``folder``; ``None`` where they name no
        target.

        Raises :class:`ConfigError` where nothing was measured of that drafter, of blocks so long
        or of that shape, with noise, or where nothing reaches the target.
        """
        if settings.target_risk is None and settings.target_gain is None:
            return None
        if folder is None:
            raise ConfigError(
                "a target needs a drafter from a folder, with the gate that it brings: leave out "
                "your own, or give policy=MinimumEscalation(...)"
            )
        quality = RiskCalibration.load(folder)
        if settings.block_tokens != quality.block_tokens:
            raise ConfigError(
                f"a target holds for block_tokens = {quality.block_tokens}, as measured: set that"
            )
        if settings.traffic_shape is not TrafficShape.PADDED:
            raise ConfigError(
                "a target does not hold in constant shape, where only a caption's first block is "
                'verified: set traffic_shape = "padded", or a threshold in place of the target'
            )
        if settings.noise is not None:
            raise ConfigError(
                "a target holds for states without noise, as measured: leave out noise, or set a "
                "threshold in place of the target"
            )
        return cls(quality, settings.target_risk, settings.target_gain, settings.disclosure)

    def _unreachable_message(self) -> str:
        if self.target_risk is not None:
            asked, reached = f"target_risk = {self.target_risk:g}", _least_risk
        else:
            asked, reached = f"target_gain = {self.target_gain:g}", _most_gain
            if all(one.gain_low is None for one in self.calibration.settings):
                return (
                    f"{asked} cannot be reached: it was not measured that the verifier is surely "
                    "better than the drafter alone; set target_risk or a threshold instead"
                )
        ladder = {
            disclosure: reached(of)
            for disclosure in _LADDER
            if (of := [one for one in self.calibration.settings if one.disclosure is disclosure])
        }
        told = ", ".join(f"{value} with {disclosure}" for disclosure, value in ladder.items())
        return (
            f"{asked} cannot be reached with disclosure = {self.ceiling} or less. "
            f"What can be: {told}; change the target or the disclosure"
        )


def least_disclosure(
    settings: Sequence[CalibratedSetting],
    target_risk: float | None = None,
    target_gain: float | None = None,
    *,
    ceiling: Disclosure = Disclosure.ALL_STATES,
) -> CalibratedSetting | None:
    """That of the least disclosure, then of the fewest states and then the fewest tokens that left,
    then of the highest threshold, which reaches the targets given with at most ``ceiling``;
    ``None`` where none does.
    """
    rung = _LADDER.index
    reaching = [
        one
        for one in settings
        if rung(one.disclosure) <= rung(ceiling)
        and (target_risk is None or one.risk_bound <= target_risk)
        and (target_gain is None or (one.gain_low is not None and one.gain_low >= target_gain))
    ]
    return min(
        reaching,
        key=lambda one: (
            rung(one.disclosure),
            one.states_left,  # from which a person could be told, as from words hardly
            one.tokens_left,
            -one.threshold,
        ),
        default=None,
    )


def _least_risk(settings: Sequence[CalibratedSetting]) -> str:
    return f"target_risk >= {min(one.risk_bound for one in settings):.3f}"


def _most_gain(settings: Sequence[CalibratedSetting]) -> str:
    known = [one.gain_low for one in settings if one.gain_low is not None]
    return f"target_gain <= {max(known):.2f}" if known else "no gain"
