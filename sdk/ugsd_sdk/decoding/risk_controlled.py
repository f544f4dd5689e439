"""The risk-controlled policy: the fewest states sent with which a requested quality is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.risk_calibration import CalibratedSetting, RiskCalibration
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.verification import BlockUnit, Continuation

if TYPE_CHECKING:
    from ugsd_sdk.settings.config import Settings

__all__ = ["RiskControlledPolicy", "cheapest_setting"]


@dataclass(frozen=True)
class RiskControlledPolicy:
    """The :class:`UncertaintyPolicy` at the threshold that reaches a target by measurement.

    Give exactly one target. ``target_risk`` is the share of questions that stay on the device
    although the verifier would have rejected the draft, and a caption has one question, about its
    emotion. A setting reaches it if its measured bound is no larger. By Learn-then-Test
    (Angelopoulos et al. 2021) with exact binomial tails, for a target fixed before seeing the
    table, the true risk exceeds it with probability at most ``calibration.delta``. ``target_gain``
    is the gap closed in emotion accuracy; a setting reaches it if the lower end of its 95 %
    interval over speakers is no smaller.

    The bound holds for captions exchangeable with those of the calibration speakers, made with the
    measured verifier, of normal length and of enrolled speakers; not for new speakers or corpora:
    ``calibration.checks`` shows the loss there. It is optimistic in two ways: the captions of one
    speaker are counted as independent, and the rejection predictor was fitted on the same speakers.
    It is void for a caption whose draft a budget, a deadline, a fault or an
    :class:`~ugsd_sdk.decoding.policy.EnrolmentGuard` kept; its ``unverified_reason`` names it.

    Raises :class:`ConfigError`, which names reachable targets, if no setting reaches the target.
    """

    calibration: RiskCalibration
    target_risk: float | None = None
    target_gain: float | None = None
    chosen: CalibratedSetting = field(init=False)
    """The setting in use."""

    def __post_init__(self) -> None:
        if (self.target_risk is None) == (self.target_gain is None):
            raise ConfigError("set either target_risk or target_gain, not both")
        chosen = cheapest_setting(self.calibration.settings, self.target_risk, self.target_gain)
        if chosen is None:
            raise ConfigError(self._unreachable_message())
        object.__setattr__(self, "chosen", chosen)

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return UncertaintyPolicy(self.chosen.threshold, self.chosen.disclosure)(block, budget)

    @classmethod
    def from_settings(cls, settings: Settings, folder: Path | None) -> RiskControlledPolicy | None:
        """Return the policy that ``settings`` describe for the drafter in ``folder``; ``None``
        without a target.

        Raises :class:`ConfigError` if nothing was measured for the drafter or for other settings,
        or if nothing reaches the target.
        """
        if settings.target_risk is None and settings.target_gain is None:
            return None
        if folder is None:
            raise ConfigError(
                "a target needs a drafter from a folder and its rejection predictor: remove your "
                "drafter or uncertainty, or pass policy=RiskControlledPolicy(...)"
            )
        calibration = RiskCalibration.load(folder)
        _require_measured(settings, calibration.slot)
        return cls(calibration, settings.target_risk, settings.target_gain)

    def _unreachable_message(self) -> str:
        if self.target_risk is not None:
            target, reachable_of = f"target_risk = {self.target_risk:g}", _least_risk
        else:
            target, reachable_of = f"target_gain = {self.target_gain:g}", _most_gain
            if all(one.gain_low is None for one in self.calibration.settings):
                return (
                    f"{target} cannot be reached: the measurement does not show that the verifier "
                    "is better than the drafter alone; set target_risk or a threshold instead"
                )
        return (
            f"{target} cannot be reached. Reachable is {reachable_of(self.calibration.settings)}: "
            "change the target, or set a threshold instead"
        )


def _require_measured(settings: Settings, slot: str) -> None:
    """Raise :class:`ConfigError` for ``settings`` with which no target was measured."""
    if settings.disclosure is Disclosure.TOKENS:
        raise ConfigError(
            "a target was measured only with states, without which a verifier has nothing to "
            'judge by: set disclosure = "summary", or a threshold instead of the target'
        )
    if settings.block_unit is not BlockUnit.SLOT:
        raise ConfigError(
            f"a target was measured only for the question about the {slot}: set "
            'block_unit = "slot", or a threshold instead of the target'
        )
    if settings.continuation not in (None, Continuation.NOTHING):
        raise ConfigError(
            "a target was measured only for a verifier that does not go on: remove "
            "continuation, or set a threshold instead of the target"
        )
    if settings.traffic_shape is not TrafficShape.PADDED:
        raise ConfigError(
            "a target is not available in constant shape, where only a caption's first block "
            'is verified: set traffic_shape = "padded", or a threshold instead of the target'
        )
    if settings.noise is not None:
        raise ConfigError(
            "a target was measured only for states without noise: remove noise, or set a "
            "threshold instead of the target"
        )


def cheapest_setting(
    settings: Sequence[CalibratedSetting],
    target_risk: float | None = None,
    target_gain: float | None = None,
) -> CalibratedSetting | None:
    """Return the setting that sends the fewest states and reaches the given targets.

    Ties go to the setting that sends the fewest tokens, then has the highest threshold. Returns
    ``None`` if no setting reaches them.
    """
    reaching = [
        one
        for one in settings
        if (target_risk is None or one.risk_bound <= target_risk)
        and (target_gain is None or (one.gain_low is not None and one.gain_low >= target_gain))
    ]
    return min(
        reaching,
        # A state could identify a person, words hardly.
        key=lambda one: (one.states_left, one.tokens_left, -one.threshold),
        default=None,
    )


def _least_risk(settings: Sequence[CalibratedSetting]) -> str:
    return f"target_risk >= {min(one.risk_bound for one in settings):.3f}"


def _most_gain(settings: Sequence[CalibratedSetting]) -> str:
    known = [one.gain_low for one in settings if one.gain_low is not None]
    return f"target_gain <= {max(known):.2f}" if known else "no gain"
