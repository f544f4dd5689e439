"""Describe in words how a voice sounds, on the device.

Importing this package loads nothing heavy: each name is imported from its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ugsd_privacy.budget import BudgetLimits
    from ugsd_privacy.dp.accounting import Guarantee
    from ugsd_privacy.protocol.messages import Disclosure
    from ugsd_privacy.reasons import Reason, ReasonCode

    from ugsd_sdk.caption import (
        BlockDecision,
        Caption,
        CaptionToken,
        CaptionUsage,
        Latency,
    )
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.decoding.policy import (
        AlwaysEscalate,
        NeverEscalate,
        Policy,
        RandomPolicy,
        UncertaintyPolicy,
    )
    from ugsd_sdk.decoding.risk_calibration import RiskCalibration
    from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
    from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
    from ugsd_sdk.errors import (
        AudioError,
        ConfigError,
        ModelError,
        TransportError,
        UgsdError,
    )
    from ugsd_sdk.settings.config import CapsOverride, NoiseSettings, Settings, VerifierSettings

__all__ = [
    "AlwaysEscalate",
    "AudioError",
    "BlockDecision",
    "BudgetLimits",
    "CapsOverride",
    "Caption",
    "CaptionToken",
    "CaptionUsage",
    "Captioner",
    "ConfigError",
    "Disclosure",
    "EntropyUncertainty",
    "Guarantee",
    "Latency",
    "ModelError",
    "NeverEscalate",
    "NoiseSettings",
    "Policy",
    "RandomPolicy",
    "Reason",
    "ReasonCode",
    "RejectionPredictor",
    "RiskCalibration",
    "RiskControlledPolicy",
    "Settings",
    "TransportError",
    "UgsdError",
    "Uncertainty",
    "UncertaintyPolicy",
    "VerifierSettings",
]

_NAMES_BY_MODULE = {
    "ugsd_privacy.budget": ("BudgetLimits",),
    "ugsd_privacy.dp.accounting": ("Guarantee",),
    "ugsd_privacy.protocol.messages": ("Disclosure",),
    "ugsd_privacy.reasons": ("Reason", "ReasonCode"),
    "ugsd_sdk.caption": (
        "BlockDecision",
        "Caption",
        "CaptionToken",
        "CaptionUsage",
        "Latency",
    ),
    "ugsd_sdk.captioner": ("Captioner",),
    "ugsd_sdk.settings.config": ("CapsOverride", "NoiseSettings", "Settings", "VerifierSettings"),
    "ugsd_sdk.errors": ("AudioError", "ConfigError", "ModelError", "TransportError", "UgsdError"),
    "ugsd_sdk.decoding.risk_controlled": ("RiskControlledPolicy",),
    "ugsd_sdk.decoding.policy": (
        "AlwaysEscalate",
        "NeverEscalate",
        "Policy",
        "RandomPolicy",
        "UncertaintyPolicy",
    ),
    "ugsd_sdk.decoding.risk_calibration": ("RiskCalibration",),
    "ugsd_sdk.decoding.uncertainty": ("RejectionPredictor", "EntropyUncertainty", "Uncertainty"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
