from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import ugsd_privacy
from ugsd_privacy import errors

PACKAGE = Path(ugsd_privacy.__file__).parent
ROOT = PACKAGE.parents[1]

SURFACE = {
    "": (
        "BudgetLimits CaptionHandle ClientChannel Egress Escalation Ledger LogKey "
        "LogPublicKey OwnerKey OwnerPublicKey Receipt SealedFrame ServerChannel Usage "
        "VerifierKey VerifierPublicKey verify_log"
    ),
    ".errors": (
        "BudgetExceeded ChannelClosed ChannelError ExportFailed FileLocked "
        "FrameRejected HandshakeFailed KeyFileError LeakageNotMeasured LedgerCorrupt "
        "LedgerError LedgerMoved LedgerUnavailable LogOfAnotherVersion LogTampered "
        "ManifestRejected PrivacyError RecordingRefused ReportRejected UgsdError UnknownVersion "
        "UserNameRefused WireError WitnessUnavailable WrongType"
    ),
}
"""The public names, by module. Other modules are private, whatever their names."""


@pytest.mark.parametrize("module", SURFACE)
def test_public_names_are_unchanged(module: str) -> None:
    names = list(import_module(f"ugsd_privacy{module}").__all__)
    assert names == SURFACE[module].split()
    for name in names:
        assert getattr(import_module(f"ugsd_privacy{module}"), name) is not None


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = ugsd_privacy.nothing  # type: ignore[attr-defined]


def test_every_error_is_in_the_documented_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.UgsdError)
        assert name in (errors.__doc__ or "")


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_package_import_loads_nothing_heavy() -> None:
    loaded = run("import sys, ugsd_privacy; print(*sys.modules)").split()
    heavy = {"numpy", "pydantic", "cryptography", "cbor2", "sqlite3"}
    assert not heavy & set(loaded)


def test_no_module_loads_models_or_networking() -> None:
    stems = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (".".join(part for part in stem.parts if part != "__init__") for stem in stems)
    imports = "; ".join(f"import {name}" for name in sorted(names))
    loaded = run(f"import sys; {imports}; print(*sys.modules)").split()
    forbidden = {
        "torch",
        "onnxruntime",
        "transformers",
        "websockets",
        "asyncio",
        "_ssl",
        "http.client",
    }
    assert not forbidden & set(loaded)


def test_sdk_seals_frames_only_through_egress() -> None:
    for path in (ROOT / "sdk").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [call for call in calls if call.endswith(("channel.seal", "channel.hello"))], (
            path
        )


def test_only_egress_creates_sealed_frames() -> None:
    for folder in ("privacy", "sdk", "server"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == PACKAGE / "egress.py":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [
                ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
            ]
            assert not [call for call in calls if call.split(".")[-1] == "SealedFrame"], path
            names = {
                ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute)
            }
            assert not [name for name in names if name.split(".")[-1] == "_EGRESS_TOKEN"], path
