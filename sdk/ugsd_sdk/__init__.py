"""Describe how a voice sounds, in words and as data, on the device.

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

    from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
    from ugsd_sdk.attributes.attributes import Attributes
    from ugsd_sdk.attributes.length import CaptionLength
    from ugsd_sdk.attributes.slots import Slot
    from ugsd_sdk.calls.events import (
        AudioRead,
        BlockSent,
        CaptionFailed,
        CaptionFinished,
        CaptionStarted,
        ClipEncoded,
        VerdictReceived,
    )
    from ugsd_sdk.caption import (
        BlockDecision,
        Caption,
        CaptionProfile,
        CaptionToken,
        CaptionUsage,
        Latency,
    )
    from ugsd_sdk.caption.result import CaptionResult
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.decoding.policy import (
        AlwaysEscalate,
        NeverEscalate,
        Policy,
        UncertaintyPolicy,
    )
    from ugsd_sdk.decoding.risk_calibration import RiskCalibration
    from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
    from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
    from ugsd_sdk.errors import (
        AudioError,
        CallEnded,
        CaptionCancelled,
        CaptionerClosed,
        CaptionTimeout,
        ConfigError,
        ModelError,
        ProfileError,
        TransportError,
        UgsdError,
    )
    from ugsd_sdk.profile.clip_profile import ProfileUse
    from ugsd_sdk.profile.matching import ProfileChange
    from ugsd_sdk.profile.profile import Profile
    from ugsd_sdk.prosody.recording_quality import RecordingNote
    from ugsd_sdk.settings.config import NoiseSettings, Settings, UserSettings, VerifierSettings
    from ugsd_sdk.speech.segmenter import SpeechStarted
    from ugsd_sdk.streams.caption_stream import AsyncCaptionStream, CaptionStream
    from ugsd_sdk.streams.chunks import AudioChunk
    from ugsd_sdk.streams.events import DraftCaption, FinalCaption, StreamGap
    from ugsd_sdk.streams.microphone import Microphone
    from ugsd_sdk.timelines import Timeline

__all__ = [
    "AlwaysEscalate",
    "AsyncCaptionStream",
    "Attribute",
    "Attributes",
    "AudioChunk",
    "AudioError",
    "AudioRead",
    "BlockDecision",
    "BlockSent",
    "BudgetLimits",
    "CallEnded",
    "Caption",
    "CaptionCancelled",
    "CaptionFailed",
    "CaptionFinished",
    "CaptionLength",
    "CaptionProfile",
    "CaptionResult",
    "CaptionStarted",
    "CaptionStream",
    "CaptionTimeout",
    "CaptionToken",
    "CaptionUsage",
    "Captioner",
    "CaptionerClosed",
    "ClipEncoded",
    "ConfigError",
    "DecidedBy",
    "Disclosure",
    "DraftCaption",
    "EntropyUncertainty",
    "FinalCaption",
    "Guarantee",
    "Latency",
    "Microphone",
    "ModelError",
    "NeverEscalate",
    "NoiseSettings",
    "Policy",
    "Profile",
    "ProfileChange",
    "ProfileError",
    "ProfileUse",
    "Reason",
    "ReasonCode",
    "RecordingNote",
    "RejectionPredictor",
    "RiskCalibration",
    "RiskControlledPolicy",
    "Settings",
    "Slot",
    "SpeechStarted",
    "StreamGap",
    "Timeline",
    "TransportError",
    "UgsdError",
    "Uncertainty",
    "UncertaintyPolicy",
    "UserSettings",
    "VerdictReceived",
    "VerifierSettings",
]

__version__ = "0.1.0"

_NAMES_BY_MODULE = {
    "ugsd_privacy.budget": ("BudgetLimits",),
    "ugsd_privacy.dp.accounting": ("Guarantee",),
    "ugsd_privacy.protocol.messages": ("Disclosure",),
    "ugsd_privacy.reasons": ("Reason", "ReasonCode"),
    "ugsd_sdk.attributes.attribute": ("Attribute", "DecidedBy"),
    "ugsd_sdk.attributes.attributes": ("Attributes",),
    "ugsd_sdk.attributes.length": ("CaptionLength",),
    "ugsd_sdk.attributes.slots": ("Slot",),
    "ugsd_sdk.calls.events": (
        "AudioRead",
        "BlockSent",
        "CaptionFailed",
        "CaptionFinished",
        "CaptionStarted",
        "ClipEncoded",
        "VerdictReceived",
    ),
    "ugsd_sdk.caption": (
        "BlockDecision",
        "Caption",
        "CaptionProfile",
        "CaptionToken",
        "CaptionUsage",
        "Latency",
    ),
    "ugsd_sdk.caption.result": ("CaptionResult",),
    "ugsd_sdk.captioner": ("Captioner",),
    "ugsd_sdk.settings.config": ("NoiseSettings", "Settings", "UserSettings", "VerifierSettings"),
    "ugsd_sdk.profile.clip_profile": ("ProfileUse",),
    "ugsd_sdk.profile.matching": ("ProfileChange",),
    "ugsd_sdk.profile.profile": ("Profile",),
    "ugsd_sdk.prosody.recording_quality": ("RecordingNote",),
    "ugsd_sdk.errors": (
        "AudioError",
        "CallEnded",
        "CaptionCancelled",
        "CaptionTimeout",
        "CaptionerClosed",
        "ConfigError",
        "ModelError",
        "ProfileError",
        "TransportError",
        "UgsdError",
    ),
    "ugsd_sdk.timelines": ("Timeline",),
    "ugsd_sdk.decoding.risk_controlled": ("RiskControlledPolicy",),
    "ugsd_sdk.decoding.policy": (
        "AlwaysEscalate",
        "NeverEscalate",
        "Policy",
        "UncertaintyPolicy",
    ),
    "ugsd_sdk.decoding.risk_calibration": ("RiskCalibration",),
    "ugsd_sdk.decoding.uncertainty": ("RejectionPredictor", "EntropyUncertainty", "Uncertainty"),
    "ugsd_sdk.speech.segmenter": ("SpeechStarted",),
    "ugsd_sdk.streams.caption_stream": ("AsyncCaptionStream", "CaptionStream"),
    "ugsd_sdk.streams.chunks": ("AudioChunk",),
    "ugsd_sdk.streams.events": ("DraftCaption", "FinalCaption", "StreamGap"),
    "ugsd_sdk.streams.microphone": ("Microphone",),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


if not TYPE_CHECKING:  # which would take any misspelt name for an object

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
