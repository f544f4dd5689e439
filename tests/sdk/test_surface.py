"""The exported names, and what importing the package loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import ugsd_sdk
from ugsd_sdk import errors

EXPORTS = [
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
ERRORS = (
    "AudioError AudioTooLong AudioTooShort BadSamples CallEnded CaptionCancelled "
    "CaptionTimeout CaptionerClosed CheckpointError ConfigError EmptyAudio MicrophoneUnavailable "
    "ModelError ProfileError StreamSourceError TransportError UgsdError UnreadableAudio "
    "VerifierMisbehaved VerifierMismatch VerifierRefused VerifierTimeout VerifierUnreachable "
    "VerifierUntrusted WrongType WrongValue"
)
HEAVY = [
    "tomllib",
    "torch",
    "onnxruntime",
    "numpy",
    "pydantic",
    "websockets",
    "soundfile",
    "cryptography",
]
ABSENT = ["torch", "onnxruntime", "transformers", "ugsd_server", "ugsd_lab"]
CONNECTED = [
    "cryptography", "sqlite3", "tomllib", "websockets",
    "ugsd_privacy.egress", "ugsd_privacy.ledger", "ugsd_sdk.home", "ugsd_sdk.transport",
]  # fmt: skip
"""What a caption with a verifier or a settings file needs, and one without does not."""
CLIP = Path(ugsd_sdk.__file__).parent / "starter" / "clips" / "16a04Ab.opus"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_exported_names_are_pinned_and_resolve() -> None:
    assert ugsd_sdk.__all__ == EXPORTS == sorted(EXPORTS)
    for name in EXPORTS:
        assert getattr(ugsd_sdk, name).__name__ == name
    assert set(EXPORTS) <= set(dir(ugsd_sdk))
    with pytest.raises(AttributeError):
        ugsd_sdk.nothing  # noqa: B018


def test_names_of_errors_are_pinned() -> None:
    assert errors.__all__ == ERRORS.split() == sorted(ERRORS.split())
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.UgsdError)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, ugsd_sdk; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_captioning_loads_neither_torch_nor_server_nor_lab() -> None:
    code = f"""
import sys, numpy
from ugsd_sdk import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.speech.reader import WholeRecording
with Captioner(ScriptedDrafter(), detector=WholeRecording()) as captioner:
    captioner.caption(numpy.sin(numpy.arange(16000) / 10), 16000)
print([m for m in {ABSENT} if m in sys.modules])
"""
    assert run(code) == "[]"


def test_offline_captions_load_no_connection() -> None:
    code = f"""
import sys
from ugsd_sdk import Captioner
with Captioner() as captioner:
    assert captioner.caption({str(CLIP)!r}).tokens
print([m for m in {CONNECTED} if m in sys.modules])
"""
    assert run(code) == "[]"


def test_help_loads_nothing_heavy() -> None:
    ours = [name for name in HEAVY + ABSENT if name != "pydantic"]  # typer itself loads that
    code = f"""
import sys
from ugsd_sdk.cli import main
main(["caption", "--help"])
print([m for m in {ours} if m in sys.modules])
"""
    assert run(code).splitlines()[-1] == "[]"
