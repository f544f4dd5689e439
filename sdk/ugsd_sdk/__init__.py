"""Puts into words how a voice sounds, on the device.

Importing this loads nothing heavy; each name is imported from its module when it is first used.
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
        EscalationCost,
        Latency,
    )
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.decoding.minimum import MinimumEscalation
    from ugsd_sdk.decoding.policy import (
        AlwaysEscalate,
        NeverEscalate,
        Policy,
        RandomPolicy,
        UncertaintyPolicy,
    )
    from ugsd_sdk.decoding.quality import Quality
    from ugsd_sdk.decoding.uncertainty import Calibrator, EntropyGate, Uncertainty
    from ugsd_sdk.errors import (
        AudioError,
        ConfigError,
        ModelError,
        TransportError,
        UgsdError,
    )
    from ugsd_sdk.settings.config import CapsOver, NoiseSettings, Settings, VerifierSettings

__all__ = [
    "AlwaysEscalate",
    "AudioError",
    "BlockDecision",
    "BudgetLimits",
    "Calibrator",
    "CapsOver",
    "Caption",
    "CaptionToken",
    "Captioner",
    "ConfigError",
    "Disclosure",
    "EntropyGate",
    "EscalationCost",
    "Guarantee",
    "Latency",
    "MinimumEscalation",
    "ModelError",
    "NeverEscalate",
    "NoiseSettings",
    "Policy",
    "Quality",
    "RandomPolicy",
    "Reason",
    "ReasonCode",
    "Settings",
    "TransportError",
    "UgsdError",
    "Uncertainty",
    "UncertaintyPolicy",
    "VerifierSettings",
]

_HOMES = {
    "ugsd_privacy.budget": ("BudgetLimits",),
    "ugsd_privacy.dp.accounting": ("Guarantee",),
    "ugsd_privacy.protocol.messages": ("Disclosure",),
    "ugsd_privacy.reasons": ("Reason", "ReasonCode"),
    "ugsd_sdk.caption": (
        "BlockDecision",
        "Caption",
        "CaptionToken",
        "EscalationCost",
        "Latency",
    ),
    "ugsd_sdk.captioner": ("Captioner",),
    "ugsd_sdk.settings.config": ("CapsOver", "NoiseSettings", "Settings", "VerifierSettings"),
    "ugsd_sdk.errors": ("AudioError", "ConfigError", "ModelError", "TransportError", "UgsdError"),
    "ugsd_sdk.decoding.minimum": ("MinimumEscalation",),
    "ugsd_sdk.decoding.policy": (
        "AlwaysEscalate",
        "NeverEscalate",
        "Policy",
        "RandomPolicy",
        "UncertaintyPolicy",
    ),
    "ugsd_sdk.decoding.quality": ("Quality",),
    "ugsd_sdk.decoding.uncertainty": ("Calibrator", "EntropyGate", "Uncertainty"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
