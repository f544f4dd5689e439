"""Key manifests read without this project's code: by hand here, and with Go's own cryptography.

The layout is that of docs/decisions/019.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

TESTS = Path(__file__).parents[1]
VECTOR = json.loads((TESTS / "conformance" / "vectors" / "manifest-v1.json").read_text("utf-8"))
GO = Path(sys.executable).with_name("go")
PUBLIC, HEAD = 32 + 1952, 32 + 1952 + 64 + 3309


def unspelled(text: str, prefix: str) -> bytes:
    assert text.startswith(prefix)
    encoded = text.removeprefix(prefix)
    assert "=" not in encoded
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def integer(n: int) -> bytes:
    """Encode CBOR's unsigned integer in its shortest form, RFC 8949 §3.1."""
    return head(0, n)


def head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes([major << 5 | n])
    width = next(w for w in (1, 2, 4, 8) if n < 1 << (8 * w))
    return bytes([major << 5 | 23 + width.bit_length()]) + n.to_bytes(width, "big")


def text(value: str) -> bytes:
    return head(3, len(value)) + value.encode()


def mapped(fields: dict[str, bytes]) -> bytes:
    """Encode a map whose keys are in the bytewise order of their encodings, RFC 8949 §4.2.1."""
    entries = sorted((text(name), value) for name, value in fields.items())
    return head(5, len(entries)) + b"".join(name + value for name, value in entries)


def written(manifest: dict[str, Any]) -> bytes:
    keys = [
        mapped(
            {
                "public": head(2, 1216) + bytes.fromhex(key["public"]),
                "not_before_s": integer(key["not_before_s"]),
                "not_after_s": integer(key["not_after_s"]),
            }
        )
        for key in manifest["keys"]
    ]
    numbers = {name: integer(manifest[name]) for name in ("serial", "issued_s", "expires_s")}
    return mapped(numbers | {"keys": head(4, len(keys)) + b"".join(keys)})


def verified(signed: bytes, pin: bytes) -> bytes:
    public, signatures, manifest = signed[:PUBLIC], signed[PUBLIC:HEAD], signed[HEAD:]
    assert sha256(b"ugsd root pin\x01" + public).digest() == pin
    message = b"ugsd key manifest\x01" + pin + manifest
    Ed25519PublicKey.from_public_bytes(public[:32]).verify(signatures[:64], message)
    lattice = MLDSA65PublicKey.from_public_bytes(public[32:])
    lattice.verify(signatures[64:], message, b"ugsd key manifest\x01")
    return manifest


def test_manifest_vector_is_documented_bytes_with_both_signatures() -> None:
    signed = unspelled(VECTOR["signed"], "ugsd-manifest1:")
    pin = unspelled(VECTOR["pin"], "ugsd-root1:")
    assert verified(signed, pin) == written(VECTOR["manifest"])
    for at in (PUBLIC, PUBLIC + 64, HEAD):
        with pytest.raises(InvalidSignature):
            verified(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :], pin)


@pytest.fixture(scope="module")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not GO.exists():
        pytest.skip("Go comes with the interop extra")
    program = tmp_path_factory.mktemp("go") / "verify"
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOWORK": "off"}
    source = Path(__file__).parent / "manifest" / "main.go"
    subprocess.run([GO, "build", "-o", program, source], env=environment, check=True)
    return program


def by_go(program: Path, pin: str, signed: str, folder: Path) -> tuple[str, str]:
    (folder / "manifest").write_text(signed)
    command = [program, pin, folder / "manifest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stdout.strip(), done.stderr.strip()


def test_go_refuses_a_manifest_with_one_bad_signature(go_verifier: Path, tmp_path: Path) -> None:
    pin, signed = VECTOR["pin"], unspelled(VECTOR["signed"], "ugsd-manifest1:")
    read, error = by_go(go_verifier, pin, VECTOR["signed"], tmp_path)
    assert (bytes.fromhex(read), error) == (written(VECTOR["manifest"]), "")
    for at, named in ((0, "another root"), (PUBLIC, "Ed25519"), (PUBLIC + 64, "ML-DSA-65")):
        changed = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        spelled = "ugsd-manifest1:" + base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert named in by_go(go_verifier, pin, spelled, tmp_path)[1]


def test_go_verifies_what_our_commands_sign(go_verifier: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> None:
        command = [sys.executable, "-m", "ugsd_server", *arguments]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    run("keygen", "--key-file", "verifier.key")
    run("root", "--key-file", "root.key")
    run("manifest", "--root-key", "root.key", "--out", "m", "verifier.key.pub")
    pin = (tmp_path / "root.key.pin").read_text().strip()
    read, error = by_go(go_verifier, pin, (tmp_path / "m").read_text(), tmp_path)
    public = unspelled((tmp_path / "verifier.key.pub").read_text().strip(), "ugsd-vk1:")
    assert error == ""
    assert public in bytes.fromhex(read)
