"""The package's exported names, locked: a change here is a change for its users."""

from __future__ import annotations

import importlib

import pytest

EXPORTS = {
    "app": ["MAX_FRAME_BYTES", "RunningServer", "serve"],
    "cli": ["main"],
    "errors": [
        "BlockRefused",
        "ConfigError",
        "ListenFailed",
        "ModelDamaged",
        "ModelError",
        "ModelFailed",
        "ModelMissing",
        "ServerError",
        "SessionMisuse",
    ],
    "key_commands": ["register"],
    "keyring": ["MAX_EARLIER_KEYS", "KeyRing", "Rotation", "expiry_of", "public_file", "rotate"],
    "manifest_entries": ["ManifestEntry", "next_manifest"],
    "metrics": ["Metrics"],
    "session": ["Close", "Reply", "SessionLimits", "VerifierSession", "Work"],
    "settings": ["STARTER_FOLDER", "Settings"],
    "verifier": ["Cache", "CausalScorer", "VerifierInfo"],
    "verifier.acceptance": [
        "Acceptance",
        "ContinuationRule",
        "Greedy",
        "Rank",
        "Speculative",
        "Typical",
        "probabilities",
    ],
    "verifier.engine": ["CaptionState", "Verifier"],
    "witness": ["MAX_CONNECTIONS", "REQUEST_S", "WitnessServer"],
    "witness_command": ["register"],
    "verifier.onnx": ["DESCRIPTION_FILE", "GRAPH_FILE", "ModelDescription", "OnnxScorer"],
}


@pytest.mark.parametrize("module", EXPORTS)
def test_module_exports_are_locked(module: str) -> None:
    loaded = importlib.import_module(f"ugsd_server.{module}")
    assert loaded.__all__ == EXPORTS[module]
    assert all(hasattr(loaded, name) for name in loaded.__all__)
