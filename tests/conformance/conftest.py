"""Builds the Go peer once, and runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.go_build import built, go_root

SOURCE = Path(__file__).parent / "go"
CRYPTO = ("chacha20", "chacha20poly1305", "internal")
"""Parts of Go's golang.org/x/crypto; its public packages lack plain ChaCha20-Poly1305."""
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
    """The peer refused, without a reason."""


class GoPeer:
    """A running peer, which holds one session at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **fields: bytes | str | int | bool) -> bytes:
        """Send a command and return its bytes. Raises :class:`Rejected`."""
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
    """The compiled peer. Nothing is fetched: everything that its source imports is in Go's own
    tree."""
    folder = tmp_path_factory.mktemp("go")
    vendored = go_root() / "src" / "vendor" / "golang.org" / "x"
    for name in CRYPTO:
        shutil.copytree(vendored / "crypto" / name, folder / "x" / "crypto" / name)
    shutil.copytree(vendored / "sys" / "cpu", folder / "x" / "sys" / "cpu")
    for name in ("crypto", "sys"):
        module = folder / "x" / name / "go.mod"
        module.write_text(f"module golang.org/x/{name}\n\ngo 1.26\n", "utf-8")
    return built(folder, SOURCE, GO_MOD)


@pytest.fixture
def go_peer(go_program: Path) -> Iterator[GoPeer]:
    """A fresh peer of version 2, with its own verifier key."""
    with subprocess.Popen(
        [go_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield GoPeer(process)
