"""Makes wire-v2.json and channel-v2.json, the golden vectors. Run it to write the files.

Everything but the handshake is regenerated each time. The handshake's ciphertexts are random, so
one handshake is recorded, together with the private keys that open it: ``--record`` replaces it,
which no released version may do. The keys have no other use.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol import channel
from ugsd_privacy.protocol.channel import CHANNEL_VERSION, ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
    AskedSlot,
    Block,
    ContinueTo,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape

MESSAGES = Path(__file__).with_name("wire-v2.json")
SESSION = Path(__file__).with_name("channel-v2.json")
_ANSWER_HEAD_BYTES = 2 + 1120 + 16 + 32

_WELCOME = Welcome(
    version=WIRE_VERSION,
    vocabulary=sha256(b"vocabulary").digest(),
    projections=(sha256(b"projection").digest(), sha256(b"another projection").digest()),
    state_dim=128,
    max_tokens=64,
)
_DEVICE = {
    "tokens alone": Block(caption=0, slot=AskedSlot.ANY_TOKEN, tokens=(7,)),
    "a question about the emotion": Block(
        caption=0,
        slot=AskedSlot.EMOTION,
        tokens=(12, 7, 300, 21, 94),
        state_positions=(0,),
        states=bytes([0x10, 0xF0, 0x55, 0xAB, 0x01, 0x7F]),
        projection=1,
    ),
    "a summary": Block(
        caption=1,
        slot=AskedSlot.ANY_TOKEN,
        tokens=(65_535, 65_536, 2**20 - 1),
        state_positions=(0,),
        states=bytes(range(128)),
        prefix=(23, 24, 255, 256),
        continue_to=ContinueTo.CAPTION,
    ),
    "states of prefix and block": Block(
        caption=2**32 - 1,
        slot=AskedSlot.ANY_TOKEN,
        tokens=(2, 3, 4, 5, 6),
        state_positions=(250, 251, 255),
        states=bytes([0x7F, 0x81, 0, 1, 0xFF, 0x80]),
        projection=15,
        keep=250,
        prefix=(1,),
    ),
    "a noised state": Block(
        caption=2,
        slot=AskedSlot.EMOTION,
        tokens=(1, 2),
        state_positions=(0,),
        states=bytes([0x7F, 0x81]),
        exponent=10,
    ),
    "draft weights": Block(
        caption=3,
        slot=AskedSlot.EMOTION,
        tokens=(1, 2),
        keep=4,
        continue_to=ContinueTo.CLAUSE,
        draft_weights=bytes([0, 1, 255]),
    ),
    "a cover": Cover(),
}
_VERIFIER = {
    "welcome": _WELCOME,
    "all accepted": Verdict(caption=0, start=0, accepted=1),
    "corrected": Verdict(caption=0, start=0, accepted=4, correction=95),
    "continued": Verdict(caption=0, start=0, accepted=5, continuation=(7, 1)),
    "corrected and continued": Verdict(
        caption=1, start=4, accepted=2, correction=2**20 - 1, continuation=tuple(range(20, 84))
    ),
    "a cover in answer": Cover(),
} | {f"refused: {code}": Refusal(code=code) for code in RefusalCode}
_FRAMES = [
    ("verifier", "welcome", TrafficShape.PADDED),
    ("device", "tokens alone", TrafficShape.PADDED),
    ("device", "a question about the emotion", TrafficShape.PADDED),
    ("device", "a summary", TrafficShape.PADDED),
    ("device", "a summary", TrafficShape.CONSTANT),
    ("device", "a cover", TrafficShape.CONSTANT),
    ("verifier", "all accepted", TrafficShape.PADDED),
    ("verifier", "corrected", TrafficShape.PADDED),
    ("verifier", "corrected and continued", TrafficShape.PADDED),
    ("verifier", "corrected and continued", TrafficShape.CONSTANT),
    ("verifier", "a cover in answer", TrafficShape.CONSTANT),
    ("verifier", "refused: overloaded", TrafficShape.CONSTANT),
]


def key_of(seeds: str) -> VerifierKey:
    """Return the key of an ML-KEM-768 seed (64 bytes) and an X25519 private key (32 bytes), in
    hex."""
    raw = bytes.fromhex(seeds)
    return VerifierKey(
        MLKEM768PrivateKey.from_seed_bytes(raw[:64]), X25519PrivateKey.from_private_bytes(raw[64:])
    )


def record() -> dict[str, str]:
    """Do a handshake once, and record what it takes to open the flights again."""
    key = VerifierKey.generate()
    device, verifier = ClientChannel(key.public), ServerChannel(key)
    hello = device.hello()
    secret_1, ephemeral = device._secret, device._ephemeral
    assert ephemeral is not None
    answer = verifier.receive_hello(hello, encode(_WELCOME))
    info = b"ugsd channel answer\2" + sha256(hello).digest()
    secret_2 = channel._SUITE.decrypt(answer[2:_ANSWER_HEAD_BYTES], ephemeral.hpke, info=info)
    device.receive_hello(answer)
    return {
        "verifier_private_key": _seeds(key),
        "ephemeral_private_key": _seeds(ephemeral),
        "secret_1": secret_1.hex(),
        "secret_2": secret_2.hex(),
        "hello": hello.hex(),
        "answer": answer.hex(),
    }


def messages() -> dict[str, Any]:
    """Return the content of wire-v2.json."""
    named = [
        _message(name, sender, message)
        for sender, named in (("device", _DEVICE), ("verifier", _VERIFIER))
        for name, message in named.items()  # type: ignore[attr-defined]
    ]
    return {"wire_version": WIRE_VERSION, "messages": named}


def session(recorded: dict[str, str]) -> dict[str, Any]:
    """Return the content of channel-v2.json for a recorded handshake."""
    key = key_of(recorded["verifier_private_key"])
    hello, answer = bytes.fromhex(recorded["hello"]), bytes.fromhex(recorded["answer"])
    salt = sha256(key.public.raw + hello + answer[:_ANSWER_HEAD_BYTES]).digest()
    secrets = bytes.fromhex(recorded["secret_1"] + recorded["secret_2"])
    labels = {
        "device": b"ugsd channel device to verifier\2",
        "verifier": b"ugsd channel verifier to device\2",
    }
    first = {name: channel._derive(secrets, salt, label).hex() for name, label in labels.items()}
    return {
        "channel_version": CHANNEL_VERSION,
        "recorded_handshake": recorded,
        "verifier_public_key": key.public.raw.hex(),
        "transcript_sha256": salt.hex(),
        "first_secrets": first,
        "frames": _frames(key, secrets, salt, first),
    }


def _frames(
    key: VerifierKey, secrets: bytes, salt: bytes, first: dict[str, str]
) -> list[dict[str, Any]]:
    device, verifier = ClientChannel(key.public), ServerChannel(key)
    device._share(secrets, salt, role="device")
    verifier._share(secrets, salt, role="verifier")
    numbers, frames = {"device": 0, "verifier": 0}, []
    secret = {name: bytes.fromhex(text) for name, text in first.items()}
    sides = {"device": (device, _DEVICE), "verifier": (verifier, _VERIFIER)}
    for sender, name, shape in _FRAMES:
        side, named = sides[sender]
        frame = side.seal(encode(named[name]), shape)  # type: ignore[attr-defined,index]
        derived = HKDFExpand(SHA256(), 64, b"ugsd channel frame\2").derive(secret[sender])
        secret[sender] = derived[32:]
        frames.append(
            {
                "sender": sender,
                "number": numbers[sender],
                "key": derived[:32].hex(),
                "next_secret": derived[32:].hex(),
                "message": name,
                "shape": str(shape),
                "frame": frame.hex(),
            }
        )
        numbers[sender] += 1
    return frames


def _message(name: str, sender: str, message: Any) -> dict[str, Any]:
    fields = message.model_dump(mode="python")
    plain = {k: _hex(v) for k, v in fields.items()}
    return {"name": name, "sender": sender, "fields": plain, "cbor": encode(message).hex()}


def _hex(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_hex(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def _seeds(key: VerifierKey) -> str:
    return (key._mlkem.private_bytes_raw() + key._x25519.private_bytes_raw()).hex()


def text(content: dict[str, Any]) -> str:
    """Return a file's text."""
    return json.dumps(content, indent=1) + "\n"


def main() -> None:
    if "--record" in sys.argv[1:]:
        recorded = record()
    else:
        recorded = json.loads(SESSION.read_text("utf-8"))["recorded_handshake"]
    MESSAGES.write_text(text(messages()), "utf-8")
    SESSION.write_text(text(session(recorded)), "utf-8")


if __name__ == "__main__":
    main()
