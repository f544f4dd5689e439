"""The rooms and what may pass between them, and what the distribution carries."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "ugsd": ROOT / "sdk" / "ugsd",
    "ugsd_privacy": ROOT / "privacy" / "ugsd_privacy",
    "ugsd_sdk": ROOT / "sdk" / "ugsd_sdk",
    "ugsd_server": ROOT / "server" / "ugsd_server",
    "ugsd_lab": ROOT / "lab" / "ugsd_lab",
}
BASE = ("ugsd_privacy", "ugsd_sdk", "ugsd_server")
"""What runs without any extra."""
RESEARCH = {
    "datasets",
    "huggingface_hub",
    "librosa",
    "opacus",
    "tokenizers",
    "torch",
    "torchaudio",
    "transformers",
}
NETWORK = {
    "aiohttp",
    "asyncio",
    "ftplib",
    "http",
    "httpx",
    "requests",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib",
    "urllib3",
    "websockets",
    "xmlrpc",
}
MAX_WHEEL_BYTES = 40 * 2**20
DRAFTER_FILES = (
    "decoder.onnx", "gate.json", "model.json", "proposals.json", "reader.onnx", "vocabulary.json",
    "voice.onnx",
)  # fmt: skip
STARTER_FILES = {
    *(f"ugsd_sdk/{name}/{file}" for name in ("free", "starter") for file in DRAFTER_FILES),
    "ugsd_sdk/starter/state_reading.json",
    "ugsd_sdk/audio_encoder/audio_encoder.onnx",
    "ugsd_sdk/starter/clips/clips.json",
    "ugsd_privacy/reports/pages/report.html.j2",
    "ugsd_privacy/reports/pages/tables.js",
    "ugsd_server/starter/model.json",
    "ugsd_server/starter/verifier.onnx",
}


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def offenders(package: str, forbidden: set[str], but: str = "") -> Iterator[tuple[str, set[str]]]:
    """Files that import what is forbidden, those in the folder ``but`` left out."""
    folder = PACKAGES[package]
    files = sorted(folder.rglob("*.py"))
    assert files, folder
    for path in files:
        within = path.relative_to(folder)
        if (not but or within.parts[0] != but) and (found := imported(path) & forbidden):
            yield f"{package}/{within}", found


def test_imports_go_one_way() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("package", BASE)
def test_installed_packages_import_no_research_libraries(package: str) -> None:
    assert list(offenders(package, RESEARCH)) == []


def test_privacy_layer_imports_no_network_libraries() -> None:
    assert list(offenders("ugsd_privacy", NETWORK)) == []


def test_only_transports_import_network_libraries() -> None:
    assert list(offenders("ugsd_sdk", NETWORK, but="transport")) == []


ONE_PLACE = {
    "flock(": "privacy/ugsd_privacy/files/file_lock.py",
    "register_at_fork(": "privacy/ugsd_privacy/forks.py",
    "Py_IncRef": "privacy/ugsd_privacy/forks.py",
}


@pytest.mark.parametrize("call", ONE_PLACE)
def test_system_calls_are_in_one_place(call: str) -> None:
    sources = (path for folder in PACKAGES.values() for path in folder.rglob("*.py"))
    users = {str(path.relative_to(ROOT)) for path in sources if call in path.read_text("utf-8")}
    assert users == {ONE_PLACE[call]}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


@pytest.mark.timeout(300)  # pip may have to fetch the build backend
def test_wheel_has_the_starter_and_no_tests(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("ugsd-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in [*folder.rglob("*.py"), folder / "py.typed"]
    }
    assert sources <= names
    assert names >= STARTER_FILES
    assert any(n.startswith("ugsd_sdk/starter/clips/") and n.endswith(".opus") for n in names)
    (others,) = {name.split("/")[0] for name in names} - set(PACKAGES)
    assert others.endswith(".dist-info")
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
