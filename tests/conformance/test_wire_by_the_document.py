"""A reader of both versions, written from docs/wire.md alone: it imports nothing of this project.

HPKE, CBOR and RFC 5869 are implemented here; ``cryptography`` provides ML-KEM, X25519 and
ChaCha20-Poly1305.
"""

from __future__ import annotations

import ast
import hmac
import json
import re
from hashlib import sha3_256, sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "conformance" / "vectors"
WIRE = json.loads((VECTORS / "wire-v2.json").read_text("utf-8"))
CHANNEL = json.loads((VECTORS / "channel-v2.json").read_text("utf-8"))
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")
KINDS = {0: "block", 1: "cover", 2: "verdict", 3: "refusal"}
REQUIRED = "required"
FIELDS: dict[str, dict[str, Any]] = {
    "block": {
        **{"caption": REQUIRED, "slot": REQUIRED, "tokens": REQUIRED, "state_positions": []},
        **{"states": b"", "projection": 0, "keep": 0, "prefix": [], "continue_to": 0},
        **{"exponent": 0, "draft_weights": b""},
    },
    "cover": {},
    "verdict": {
        **{"caption": REQUIRED, "start": REQUIRED, "accepted": REQUIRED, "correction": None},
        "continuation": [],
    },
    "refusal": {"code": REQUIRED},
}
"""Kind -> field -> default, in the order of the document's tables."""
REFUSALS = ("bad_message", "unknown_prefix", "too_large", "overloaded", "internal")
SIZES = (128, 256, 512, 1024, 2048, 4096, 8192, 16_640)
CONSTANT, OVERHEAD, HELLO, ANSWER_HEAD = 1024, 19, 2386, 1170


class Cbor:
    """Reads the part of CBOR that messages use, in its deterministic form."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        piece = self.data[self.at : self.at + n]
        assert len(piece) == n, "ends early"
        self.at += n
        return piece

    def head(self) -> tuple[int, int]:
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        width = 1 << (info - 24)
        assert width <= 8, "indefinite or reserved"
        argument = int.from_bytes(self.take(width), "big")
        least = 24 if width == 1 else 1 << (4 * width)
        assert argument >= least, "not the shortest form"
        return major, argument

    def item(self) -> Any:
        if self.data[self.at] == 0xF6:
            self.at += 1
            return None
        major, argument = self.head()
        match major:
            case 0:
                return argument
            case 2:
                return self.take(argument)
            case 3:
                return self.take(argument).decode()
            case 4:
                return [self.item() for _ in range(argument)]
        raise AssertionError("a kind of item that no message holds")

    def message(self) -> dict[str, Any]:
        major, count = self.head()
        if major == 5:
            return self.welcome(count)
        assert major == 4, "neither an array nor a map"
        kind = KINDS[self.item()]
        values = [self.item() for _ in range(count - 1)]
        assert self.at == len(self.data), "more than one item"
        defaults = FIELDS[kind]
        assert len(values) <= len(defaults), "more items than the kind has fields"
        fields = {**defaults, **dict(zip(defaults, values, strict=False))}
        assert REQUIRED not in fields.values(), "a required field is missing"
        if values:
            last = defaults[list(defaults)[len(values) - 1]]
            assert values[-1] != last, "a default at the end is not left out"
        if kind == "refusal":
            fields["code"] = REFUSALS[fields["code"]]
        return {"kind": kind, **fields}

    def welcome(self, count: int) -> dict[str, Any]:
        fields, keys = {}, []
        for _ in range(count):
            start = self.at
            key = self.item()
            keys.append(self.data[start : self.at])
            fields[key] = self.item()
        assert keys == sorted(set(keys)), "keys out of order, or twice"
        assert self.at == len(self.data), "more than one item"
        return fields


def public_key(text: str) -> bytes:
    """Return the 1216 bytes of the public key that belongs to a private key."""
    raw = bytes.fromhex(text)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:64])
    x25519 = X25519PrivateKey.from_private_bytes(raw[64:])
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def open_hpke(private: str, info: bytes, sealed: bytes) -> bytes:
    """RFC 9180 §5.1 and §5.2 in base mode, over X-Wing (draft-connolly-cfrg-xwing-kem §5)."""
    raw = bytes.fromhex(private)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:64])
    x25519 = X25519PrivateKey.from_private_bytes(raw[64:])
    encapsulated, ciphertext = sealed[:1120], sealed[1120:]
    theirs = encapsulated[1088:]
    parts = mlkem.decapsulate(encapsulated[:1088])
    parts += x25519.exchange(X25519PublicKey.from_public_bytes(theirs)) + theirs
    shared = sha3_256(parts + x25519.public_key().public_bytes_raw() + XWING_LABEL).digest()
    suite = b"HPKE" + bytes.fromhex("647a00010003")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(secret: bytes, label: bytes, context: bytes, n: int) -> bytes:
        labelled = n.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, labelled + b"\x01", "sha256")[:n]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, None)


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """RFC 5869 §2.2."""
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk: bytes, info: bytes, n: int) -> bytes:
    """RFC 5869 §2.3."""
    output = block = b""
    while len(output) < n:
        block = hmac.digest(prk, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:n]


def open_frame(key: bytes, number: int, frame: bytes) -> bytes:
    assert len(frame) in SIZES
    assert frame[0] == 3
    plain = ChaCha20Poly1305(key).decrypt(number.to_bytes(12, "big"), frame[1:], frame[:1])
    length = int.from_bytes(plain[:2], "big")
    message, padding = plain[2 : 2 + length], plain[2 + length :]
    assert len(message) == length
    assert not any(padding)
    smallest = min(size for size in SIZES if size >= length + OVERHEAD)
    assert len(frame) in (smallest, CONSTANT)
    return message


def first_secrets() -> dict[str, bytes]:
    """Return the secret of frame 0 of each sender, from the recorded flights and the private
    keys."""
    recorded = {name: bytes.fromhex(v) for name, v in CHANNEL["recorded_handshake"].items()}
    public = public_key(recorded["verifier_private_key"].hex())
    ephemeral_public = public_key(recorded["ephemeral_private_key"].hex())
    hello, head = recorded["hello"], recorded["answer"][:ANSWER_HEAD]
    assert len(hello) == HELLO
    assert (hello[:2], head[:2]) == (b"\x01\x02", b"\x02\x02")
    static, ephemeral = (
        CHANNEL["recorded_handshake"][f"{name}_private_key"] for name in ("verifier", "ephemeral")
    )
    offer = open_hpke(static, b"ugsd channel hello\x02", hello[2:])
    assert offer == recorded["secret_1"] + ephemeral_public
    info = b"ugsd channel answer\x02" + sha256(hello).digest()
    secret_2 = open_hpke(ephemeral, info, head[2:])
    assert secret_2 == recorded["secret_2"]
    assert public.hex() == CHANNEL["verifier_public_key"]
    salt = sha256(public + hello + head).digest()
    assert salt.hex() == CHANNEL["transcript_sha256"]
    prk = hkdf_extract(salt, offer[:32] + secret_2)
    return {
        "device": hkdf_expand(prk, b"ugsd channel device to verifier\x02", 32),
        "verifier": hkdf_expand(prk, b"ugsd channel verifier to device\x02", 32),
    }


def ratcheted(secret: bytes, number: int) -> tuple[bytes, bytes]:
    """Return the key of that frame and the secret of the next, from the secret of frame 0."""
    for _ in range(number + 1):
        expanded = hkdf_expand(secret, b"ugsd channel frame\x02", 64)
        key, secret = expanded[:32], expanded[32:]
    return key, secret


def test_independent_reader_imports_nothing_of_ours() -> None:
    for node in ast.walk(ast.parse(Path(__file__).read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.startswith("ugsd")]


@pytest.mark.parametrize("vector", WIRE["messages"], ids=lambda v: v["name"])
def test_messages_decode_as_documented(vector: dict[str, Any]) -> None:
    fields = Cbor(bytes.fromhex(vector["cbor"])).message()
    plain = {k: in_hex(v) for k, v in fields.items()}
    assert plain == vector["fields"]
    if fields["kind"] == "block" and fields["states"]:
        rows, rest = divmod(len(fields["states"]), len(fields["state_positions"]))
        assert 1 <= rows <= 128
        assert not rest


def in_hex(value: Any) -> Any:
    if isinstance(value, list):
        return [in_hex(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def test_every_field_is_in_the_document_in_order() -> None:
    document = (TESTS.parent / "docs" / "wire.md").read_text("utf-8")
    for number, kind in KINDS.items():
        section = document.partition(f"**{kind}** ({number})")[2].partition("\n**")[0]
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
        assert rows == [(str(at), name) for at, name in enumerate(FIELDS[kind], 1)]
    for number, code in enumerate(REFUSALS):
        assert f"{number} `{code}`" in document


def test_example_of_the_document_is_a_block() -> None:
    document = (TESTS.parent / "docs" / "wire.md").read_text("utf-8")
    example = document.partition("are these 22 bytes:\n\n```\n")[2].partition("```")[0]
    data = bytes.fromhex("".join(line.strip().split("  ")[0] for line in example.splitlines()))
    block = Cbor(data).message()
    assert (len(data), block["slot"], block["tokens"]) == (22, 1, [12, 7, 300, 21, 94])
    assert (block["state_positions"], len(block["states"])) == ([0], 6)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("8201f6", "more items"),
        ("8103", "required"),
        ("85000000810780", "default at the end"),
        ("8402000000f6", "more than one item"),
        ("a0f6", "more than one item"),
    ],
)
def test_reader_refuses_what_the_document_does(message: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        Cbor(bytes.fromhex(message)).message()


def test_recorded_handshake_gives_the_documented_secrets() -> None:
    assert {name: s.hex() for name, s in first_secrets().items()} == CHANNEL["first_secrets"]


def test_recorded_answer_carries_a_welcome_in_frame_0() -> None:
    answer = bytes.fromhex(CHANNEL["recorded_handshake"]["answer"])
    frame = answer[ANSWER_HEAD:]
    key, _ = ratcheted(first_secrets()["verifier"], 0)
    welcome = Cbor(open_frame(key, 0, frame)).message()
    assert len(frame) == 256
    assert (welcome["kind"], welcome["version"]) == ("welcome", 2)
    assert set(map(len, [welcome["vocabulary"], *welcome["projections"]])) == {32}
    first = next(vector for vector in CHANNEL["frames"] if vector["sender"] == "verifier")
    assert (first["number"], first["frame"]) == (0, frame.hex())


@pytest.mark.parametrize(
    "vector", CHANNEL["frames"], ids=lambda v: f"{v['sender']} {v['number']} {v['message']}"
)
def test_recorded_frames_open_as_documented(vector: dict[str, Any]) -> None:
    frame, number = bytes.fromhex(vector["frame"]), vector["number"]
    key, following = ratcheted(first_secrets()[vector["sender"]], number)
    assert (key.hex(), following.hex()) == (vector["key"], vector["next_secret"])
    message = open_frame(key, number, frame)
    expected = next(m for m in WIRE["messages"] if m["name"] == vector["message"])
    assert message.hex() == expected["cbor"]
    assert (len(frame) == CONSTANT) == (vector["shape"] == "constant")
    for at in (0, 1, 40, len(frame) - 1):
        damaged = bytearray(frame)
        damaged[at] ^= 1
        with pytest.raises(Exception):  # noqa: B017, PT011  # a tag or an assertion of this reader
            open_frame(key, number, bytes(damaged))
    for other in {number - 1, number + 1} - {-1}:
        key, _ = ratcheted(first_secrets()[vector["sender"]], other)
        with pytest.raises(InvalidTag):
            open_frame(key, number, frame)


def test_every_label_is_in_the_document() -> None:
    document = (TESTS.parent / "docs" / "wire.md").read_text("utf-8")
    for label in ("hello", "answer", "device to verifier", "verifier to device", "frame"):
        mark = "`" if label in ("hello", "answer") else '"'
        assert f"{mark}ugsd channel {label}{mark}" in document
