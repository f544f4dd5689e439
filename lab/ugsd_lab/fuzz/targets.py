"""Fuzz targets: each reader of bytes that somebody else wrote, and how its inputs are made.

Keys and sealing use the system's randomness; everything else depends on the generator given.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from numpy.typing import NDArray
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.audit.records import RECORDING_VERSION, EgressRecord, decode_record
from ugsd_privacy.budget import WINDOWS
from ugsd_privacy.cbor import decode_item
from ugsd_privacy.dp.accounting import block_privacy_cost
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey, open_manifest, sign
from ugsd_privacy.keys.root import RootKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import CHANNEL_VERSION, ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import (
    MAX_MESSAGE_BYTES,
    AskedSlot,
    Block,
    ContinueTo,
    Cover,
    Disclosure,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    decode_device_message,
    decode_server_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.tlog.checkpoint import open_checkpoint, sign_checkpoint, sign_note
from ugsd_privacy.tlog.merkle import leaf_hash, node_hash
from ugsd_server.session import Close, Reply, VerifierSession, Work
from ugsd_server.verifier import Cache, VerifierInfo
from ugsd_server.verifier.engine import Verifier

from ugsd_lab.fuzz.audits import (
    hostile_export,
    hostile_report,
    read_export,
    read_report_of_fleet,
)
from ugsd_lab.fuzz.mutations import cbor, changed, damaged, spliced

__all__ = ["TARGETS", "Case", "Target", "hostile_answer"]

_KEY, _OTHER = VerifierKey.generate(), VerifierKey.generate()
_LOG = LogKey.generate()
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_NOW_S = 1_700_000_000
_MANIFEST_LABEL = b"ugsd key manifest\x01"
_HELLO_INFO = b"ugsd channel hello" + bytes([CHANNEL_VERSION])
_SIZES = (0, 1, 127, 128, 129, 1023, 1024, 4096, 16_640, 16_641, 40_000)

_Item: TypeAlias = dict[str, object] | tuple[object, ...]
"""The map or the array of a message."""


@dataclass(frozen=True)
class Case:
    """One input and its reader."""

    data: bytes
    """The hostile bytes; for a frame sealed with the true key, its plaintext."""
    read: Callable[[], str]
    """Reads the input, and returns the outcome's name or raises a ``PrivacyError``."""


@dataclass(frozen=True)
class Target:
    """One reader."""

    name: str
    case: Callable[[Random], Case]
    weight: int = 1
    """Share of the cases; smaller for readers that do public-key work."""


def _device_item(rng: Random) -> _Item:
    prefix = [rng.randrange(12) for _ in range(rng.choice((0, 0, 3)))]
    tokens = [rng.randrange(12) for _ in range(rng.randint(1, 9))]
    positions = sorted(rng.sample(range(len(prefix) + len(tokens)), rng.choice((0, 1, 1))))
    slot = rng.choice(list(AskedSlot))
    block = Block(
        caption=rng.choice((0, 0, 1, 2, 2**32 - 1)), slot=slot, tokens=tuple(tokens),
        state_positions=tuple(positions), states=rng.randbytes(3 * len(positions)),
        projection=rng.randrange(3) if positions else 0, prefix=tuple(prefix),
        continue_to=rng.choice(list(ContinueTo)), exponent=rng.randrange(11) if positions else 0,
        draft_weights=b"\1\2" if slot is AskedSlot.EMOTION and rng.random() < 0.2 else b"",
    )  # fmt: skip
    return _item(rng, block if rng.random() < 0.9 else Cover())


def _server_item(rng: Random) -> _Item:
    verdict = Verdict(
        caption=rng.randrange(3), start=rng.randrange(20), accepted=rng.randrange(6),
        correction=rng.choice((None, 7)), continuation=(3, 4)[: rng.randrange(3)],
    )  # fmt: skip
    welcome = Welcome(
        version=rng.choice((0, 1, 2, 2, 255)), vocabulary=bytes(32),
        projections=(bytes(32),) * rng.randrange(3), state_dim=16, max_tokens=64,
    )  # fmt: skip
    refusal = Refusal(code=rng.choice(list(RefusalCode)))
    return _item(rng, rng.choice((verdict, verdict, welcome, refusal, Cover())))


def _item(rng: Random, message: Block | Cover | Verdict | Refusal | Welcome) -> _Item:
    """Return what CBOR encodes for a message; sometimes a map of its fields, as in version 1."""
    if rng.random() < 0.05:
        fields = message.model_dump()
        return {k: str(v) if isinstance(v, str) else v for k, v in fields.items()}
    item: _Item = decode_item(encode(message), max_depth=2)
    return item


def _written(rng: Random, item: _Item) -> bytes:
    """Encode a map or an array, in one of several hostile ways; sometimes as a sound message."""
    way = rng.randrange(10)
    made: object = item
    if way in (0, 1, 2, 7):
        fields = changed(rng, item if isinstance(item, dict) else dict(enumerate(item)))
        made = fields if isinstance(item, dict) else list(fields.values())
    data = cbor(rng, made, (0.0, 0.0, 0.0, 0.05, 0.15, 0.4, 0.8, 0.15, 0.0, 0.0)[way])
    if way == 8 or rng.random() < 0.1:
        data = damaged(rng, data, cbor(rng, item))
    return data if rng.random() > 0.03 else rng.randbytes(rng.choice(_SIZES))


def hostile_answer(rng: Random) -> bytes:
    """Return a plaintext that a malicious verifier could seal, of at most ``MAX_MESSAGE_BYTES``."""
    return _written(rng, _server_item(rng))[:MAX_MESSAGE_BYTES]


def _decodes(
    item: Callable[[Random], _Item], decode: Callable[[bytes], object]
) -> Callable[[Random], Case]:
    def case(rng: Random) -> Case:
        data = _written(rng, item(rng))

        def read() -> str:
            return type(decode(data)).__name__

        return Case(data, read)

    return case


@cache
def _record() -> EgressRecord:
    counts = (1, 5, 1, 256, 9)
    return EgressRecord(
        version=RECORDING_VERSION, recording_id=bytes(16),
        kind="block", caption=3, caption_id=bytes(16), disclosure=Disclosure.SUMMARY,
        slot=AskedSlot.EMOTION, continue_to=ContinueTo.NOTHING, exponent=2,
        tokens=(1, 2, 3), state_positions=(0,), state_dim=16, clip_norm=1.0, sigma=0.75,
        spend=block_privacy_cost(0.75, num_states=1, has_draft_weights=False),
        delta=1e-5, frame_bytes=256, frame_sha256=bytes(32), hour=480_012, user="ana",
        time_s=_NOW_S, verifier="abcde",
        before=dict.fromkeys(WINDOWS, counts),
    )  # fmt: skip


def _record_fields(_: Random) -> dict[str, object]:
    return _record().model_dump() | {"disclosure": "summary", "slot": 1, "continue_to": 0}


def _note(rng: Random) -> Case:
    root, size = rng.randbytes(32), rng.choice((0, 1, 2**62, 10**18))
    sound = sign_checkpoint(size, root, _LOG)
    line = base64.b64encode(root).decode()
    odd = rng.choice(("\ud800", "\r", "\n", "\0", "٣", "-1", "1e9", "9" * 5000, "=", " "))
    body = f"{_LOG.public.origin}\n{size}\n{line}\n"
    at = rng.randrange(len(body))
    match rng.randrange(6):
        case 0 if odd != "\ud800":
            note = sign_note(body[:at] + odd + body[at + rng.randrange(3) :], _LOG)
        case 1:
            note = sign_note(spliced(rng, [body, odd.replace("\ud800", "")]) + "\n", _LOG)
        case 2:
            at = rng.randrange(len(sound))
            note = sound[:at] + odd + sound[at:]
        case 3:
            note = spliced(rng, [sound, body]) + "\n" * rng.randrange(3)
        case 4:
            note = sound + sound.splitlines(keepends=True)[-1] * rng.choice((1, 2, 60, 5000))
        case _:
            note = damaged(rng, sound.encode(), body.encode()).decode(errors="surrogateescape")

    def read() -> str:
        return type(open_checkpoint(note, _LOG.public)).__name__

    return Case(note.encode(errors="surrogatepass"), read)


@cache
def _receipt() -> Receipt:
    leaves = [leaf_hash(bytes([n])) for n in range(2)]
    root = node_hash(*leaves)
    return Receipt(
        index=1, leaf_hash=leaves[1].hex(), tree_size=2, root=root.hex(), proof=(leaves[0].hex(),),
        checkpoint=sign_checkpoint(2, root, _LOG),
    )  # fmt: skip


def _receipt_case(rng: Random) -> Case:
    fields: dict[str, object] = json.loads(_receipt().model_dump_json())
    made = changed(rng, fields) if rng.random() < 0.6 else dict(fields)
    if rng.random() < 0.2:
        made["proof"] = [rng.randbytes(32).hex() for _ in range(rng.choice((0, 1, 63, 64, 900)))]
    text = json.dumps({str(k): v for k, v in made.items()}, default=bytes.hex)
    match rng.randrange(6):
        case 0:
            text = rng.choice(("[", '{"index":', '{"proof":[')) * rng.randint(1, 4000) + text
        case 1:
            text = text.replace("1", rng.choice(("9" * 5000, "1e400", "-0", "NaN", "1.0")), 1)
        case 2:
            text = text[:-1] + "," + text[1:]  # every key twice
        case 3:
            text = text.replace("\\n", rng.choice(("\\ud800", "\\u0000", "\\x")), 1)
    data = text.encode()
    data = damaged(rng, data, data[::-1]) if rng.random() < 0.3 else data

    def read() -> str:
        Receipt.from_json(data).verify(_LOG.public)
        return "verified"

    return Case(data, read)


@cache
def _signed() -> tuple[RootKey, KeyManifest, str]:
    root = RootKey.generate()
    keys = tuple(
        ManifestKey(public=key.public.raw, not_before_s=_NOW_S + n - 9, not_after_s=_NOW_S + 99)
        for n, key in enumerate((_KEY, _OTHER))
    )
    manifest = KeyManifest(serial=7, issued_s=_NOW_S - 9, expires_s=_NOW_S + 99, keys=keys)
    return root, manifest, sign(manifest, root)


def _manifest(rng: Random) -> Case:
    """Return an unsigned text, or a hostile manifest that the true root signed."""
    root, manifest, sound = _signed()
    prefix, _, encoded = sound.partition(":")
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    match rng.randrange(4):
        case 0:
            raw = damaged(rng, raw, raw[::-1])
        case 1:
            at = rng.randrange(len(sound))
            sound = sound[:at] + rng.choice(("\ud800", "é", "=", "\n", "A" * 40_000)) + sound[at:]
        case _:
            data = _written(rng, manifest.model_dump())
            raw = root.public.raw + root.sign(data, label=_MANIFEST_LABEL) + data
    text = f"{prefix}:{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"
    text = sound if sound != _signed()[2] else text

    def read() -> str:
        pin = root.public.pin
        return type(open_manifest(text, pin=pin, now_s=_NOW_S, least_serial=7)).__name__

    return Case(text.encode(errors="surrogatepass"), read)


def _hello(rng: Random, device: ClientChannel) -> bytes:
    """Return a first flight that is damaged, or sealed by a device that offers an invalid key."""
    if rng.random() < 0.5:
        return damaged(rng, device.hello(), rng.randbytes(2386))
    offer = rng.randbytes(32) + _OTHER.public.raw
    key = rng.choice((bytes(1216), b"\xff" * 1216, rng.randbytes(1216), offer[32:-32] + bytes(32)))
    offer = rng.choice((offer[:32] + key, offer[:32] + key, offer, offer[:-1], b"", offer * 2))
    sealed = _SUITE.encrypt(offer, _KEY.public.hpke, info=_HELLO_INFO)
    return bytes([rng.choice((1, 1, 1, 2)), CHANNEL_VERSION]) + sealed


def _server_handshake(rng: Random) -> Case:
    server = ServerChannel(_OTHER, _KEY)
    data = _hello(rng, ClientChannel(_KEY.public))

    def read() -> str:
        server.receive_hello(data, b"welcome")
        return "answered"

    return Case(data, read)


def _client_handshake(rng: Random) -> Case:
    """Return an answer that is damaged, or sound around a hostile welcome."""
    device = ClientChannel(_KEY.public)
    welcome = hostile_answer(rng)
    data = ServerChannel(_KEY).receive_hello(device.hello(), welcome)
    shown = welcome
    if rng.random() < 0.6:
        data = shown = damaged(rng, data, rng.randbytes(1298))

    def read() -> str:
        return type(decode_server_message(device.receive_hello(data))).__name__

    return Case(shown, read)


def _channels() -> tuple[ClientChannel, ServerChannel]:
    device, server = ClientChannel(_KEY.public), ServerChannel(_KEY)
    device.receive_hello(server.receive_hello(device.hello(), b"welcome"))
    return device, server


class _Frames:
    """Frames to one side of a session, which lasts until a frame breaks it."""

    def __init__(self, *, to_device: bool) -> None:
        self._to_device = to_device
        self._sender: ClientChannel | ServerChannel | None = None
        self._receiver: ClientChannel | ServerChannel | None = None

    def __call__(self, rng: Random) -> Case:
        if self._sender is None or self._receiver is None or not self._receiver.frames_remaining:
            device, server = _channels()
            sides = (server, device) if self._to_device else (device, server)
            self._sender, self._receiver = sides
        sender, receiver = self._sender, self._receiver
        item = _server_item if self._to_device else _device_item
        decode = decode_server_message if self._to_device else decode_device_message
        plain = _written(rng, item(rng))[:MAX_MESSAGE_BYTES]
        shape = (
            TrafficShape.CONSTANT
            if len(plain) < 900 and rng.random() < 0.3
            else TrafficShape.PADDED
        )
        data, shown = sender.seal(plain, shape), plain
        if rng.random() < 0.2:
            data = shown = rng.choice((
                damaged(rng, data, plain), rng.randbytes(rng.choice(_SIZES)),
                b"\x03" + bytes(rng.choice(_SIZES)),
            ))  # fmt: skip
            self._sender = None

        def read() -> str:
            return type(decode(receiver.open(data))).__name__

        return Case(shown, read)


class _Session:
    """Frames to a verifier's session, with the verifier's work on the blocks that pass."""

    def __init__(self) -> None:
        self._verifier = Verifier(_Scorer())
        self._verifier.load()
        self._session: VerifierSession | None = None
        self._device = ClientChannel(_KEY.public)

    def __call__(self, rng: Random) -> Case:
        if self._session is None:
            self._session = VerifierSession((_OTHER, _KEY), self._verifier)
            self._device = ClientChannel(_KEY.public)
            if rng.random() < 0.3:
                return self._case(_hello(rng, self._device), None, last=True)
            return self._case(self._device.hello(), None)
        plain = _written(rng, _device_item(rng))[:MAX_MESSAGE_BYTES]
        data = self._device.seal(plain)
        if rng.random() < 0.15:
            return self._case(damaged(rng, data, plain), None, last=True)
        return self._case(data, plain)

    def _case(self, data: bytes, plain: bytes | None, *, last: bool = False) -> Case:
        session, device, greeting = self._session, self._device, plain is None and not last
        assert session is not None  # noqa: S101
        if last:
            self._session = None

        def read() -> str:
            step = session.receive(data)
            if isinstance(step, Work):
                step = session.finish(step.run())
            if isinstance(step, Close):
                return "closed"
            assert isinstance(step, Reply)  # noqa: S101
            if greeting:
                device.receive_hello(step.frame)
            if plain is None:
                return "answered"
            answer = decode_server_message(device.open(step.frame))
            if isinstance(answer, Refusal):
                assert answer.code is not RefusalCode.INTERNAL, "the verifier failed"  # noqa: S101
                return f"refused: {answer.code}"
            return type(answer).__name__

        return Case(data if plain is None else plain, read)


class _Cache:
    """Stores only its length."""

    length = nbytes = 0

    def crop(self, length: int) -> None:
        self.length = length


class _Scorer:
    """A model that gives every token the same probability."""

    info = VerifierInfo(
        name="even", licence="none", vocabulary=bytes(32), projections=(bytes(32), b"1" * 32),
        bos=0, eos=1, vocabulary_size=12, state_dim=3, max_tokens=20,
        content_tokens=frozenset({5, 6}), values={AskedSlot.EMOTION: ((5,), (6,))},
    )  # fmt: skip

    def load(self) -> None: ...

    def close(self) -> None: ...

    def new_cache(self) -> _Cache:
        return _Cache()

    def extend(
        self,
        cache: Cache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        if states.shape != (len(tokens), 6) or not np.isfinite(states).all():
            raise ValueError("no device may make the engine pass this on")
        cache.crop(cache.length + len(tokens))
        return np.zeros((len(tokens), 12), dtype=np.float32)


def _from_bytes(
    hostile: Callable[[Random], bytes], read: Callable[[bytes], str]
) -> Callable[[Random], Case]:
    def case(rng: Random) -> Case:
        data = hostile(rng)
        return Case(data, lambda: read(data))

    return case


TARGETS: Sequence[Target] = (
    Target("wire.decode_device_message", _decodes(_device_item, decode_device_message), 5),
    Target("wire.decode_server_message", _decodes(_server_item, decode_server_message), 5),
    Target("audit.records.decode_record", _decodes(_record_fields, decode_record), 4),
    Target("audit.checkpoint.open_checkpoint", _note, 3),
    Target("audit.receipts.Receipt", _receipt_case, 3),
    Target("audit.report", _from_bytes(hostile_report, read_report_of_fleet), 2),
    Target("audit.export", _from_bytes(hostile_export, read_export), 1),
    Target("manifest.open_manifest", _manifest, 1),
    Target("ServerChannel.receive_hello", _server_handshake, 1),
    Target("ClientChannel.receive_hello", _client_handshake, 1),
    Target("ServerChannel.open", _Frames(to_device=False), 3),
    Target("ClientChannel.open", _Frames(to_device=True), 3),
    Target("VerifierSession.receive", _Session(), 3),
)
"""All readers."""
