"""``ugsd-lab fuzz``: hostile bytes for everything that reads a peer's bytes, or a stored file's.

Each *target* is a reader with valid examples of what it reads. Its input is an example that was
damaged in one of many ways, among them those that a general CBOR decoder stumbles over. Where both
sides share a session, hostile messages are also sealed with the true keys: a malicious verifier
towards the device, and a malicious device towards the verifier.

A reader may answer, or raise an error of its own package. Anything else is a *finding*: another
exception, more than a second, or more memory than its input and a constant explain.
"""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import cbor2
from ugsd_privacy.audit.checkpoint import open_checkpoint, sign_checkpoint
from ugsd_privacy.audit.records import EgressRecord, decode_record
from ugsd_privacy.channel import ClientChannel, ServerChannel
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.keys import LogKey, VerifierKey
from ugsd_privacy.manifest import KeyManifest, ManifestKey, open_manifest, sign
from ugsd_privacy.root import RootKey
from ugsd_privacy.wire import (
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    decode_device_message,
    decode_server_message,
    encode,
)
from ugsd_server.session import VerifierSession, Work
from ugsd_server.verifier.engine import Verifier

from ugsd_lab.training import Progress

__all__ = ["Finding", "Findings", "Target", "damaged", "fuzz", "targets"]

HANG_S = 1.0
MEMORY_BYTES, MEMORY_PER_BYTE = 2**18, 64
"""What a reader may take at most, besides so much for each byte of its input."""


@dataclass(frozen=True)
class Target:
    """A reader and what it reads."""

    name: str
    feed: Callable[[bytes], object]
    examples: Sequence[bytes]
    allowed: tuple[type[Exception], ...] = (PrivacyError,)


@dataclass(frozen=True)
class Finding:
    """Bytes that a reader did not stand."""

    target: str
    fault: str
    data: bytes


@dataclass
class Findings:
    """What came of a run."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each target answered, or raised which error."""
    findings: list[Finding] = field(default_factory=list)
    most_bytes: int = 0
    longest_s: float = 0.0

    @property
    def frames(self) -> int:
        return self.outcomes.total() + len(self.findings)

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "frames": self.frames,
            "outcomes": [[*key, count] for key, count in sorted(self.outcomes.items())],
            "most_bytes": self.most_bytes,
            "longest_s": round(self.longest_s, 4),
            "findings": [
                {"target": each.target, "fault": each.fault, "data": each.data.hex()}
                for each in self.findings
            ],
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{t:32} {o:20} {count:>9}" for (t, o), count in sorted(self.outcomes.items())]
        lines.append(
            f"{self.frames} hostile inputs; at most {self.most_bytes} bytes and "
            f"{1000 * self.longest_s:.0f} ms for one; {len(self.findings)} findings"
        )
        lines += [f"{each.target}: {each.fault}\n  {each.data.hex()}" for each in self.findings]
        return "\n".join(lines)


def fuzz(
    frames: int, seed: int, among: Sequence[Target], progress: Progress, *, memory: bool = True
) -> Findings:
    """Feed so many hostile inputs, to each target in turn. Stops at the tenth finding.

    With ``memory`` the peak of each is measured, which takes about twice as long.
    """
    choose, found = random.Random(seed), Findings()  # noqa: S311  # an experiment's seed
    if memory:
        tracemalloc.start()
    try:
        for number in range(frames):
            target = among[number % len(among)]
            data = damaged(choose.choice(target.examples), choose, target.examples)
            _feed(target, data, found, memory=memory)
            if len(found.findings) >= 10:
                break
            if not (number + 1) % 500 or number + 1 == frames:
                progress("hostile inputs", number + 1, frames, f"{len(found.findings)} findings")
    finally:
        if memory:
            tracemalloc.stop()
    return found


def _feed(target: Target, data: bytes, found: Findings, *, memory: bool) -> None:
    if memory:
        tracemalloc.reset_peak()
        held, _ = tracemalloc.get_traced_memory()
    started_s, fault = perf_counter(), ""
    try:
        outcome = type(target.feed(data)).__name__
    except target.allowed as error:
        outcome = type(error).__name__
    except Exception as error:
        fault = f"raised {type(error).__name__}: {error}"
    spent_s = perf_counter() - started_s
    found.longest_s = max(found.longest_s, spent_s)
    if memory:
        peak = tracemalloc.get_traced_memory()[1] - held
        found.most_bytes = max(found.most_bytes, peak)
        if peak > MEMORY_BYTES + MEMORY_PER_BYTE * len(data):
            fault = fault or f"took {peak} bytes"
    if spent_s > HANG_S:
        fault = fault or f"took {spent_s:.1f} s"
    if fault:
        found.findings.append(Finding(target.name, fault, data))
    else:
        found.outcomes[target.name, outcome] += 1


def targets(verifier: Verifier) -> list[Target]:
    """All readers; ``verifier`` is loaded."""
    device, server = _device_messages(), _server_messages()
    log_key, root, key = LogKey.generate(), RootKey.generate(), VerifierKey.generate()
    note = sign_checkpoint(77, bytes(range(32)), log_key).encode()
    manifest = KeyManifest(
        serial=3,
        issued_s=100,
        expires_s=10_000,
        keys=(ManifestKey(public=key.public.raw, not_before_s=100, not_after_s=9000),),
    )
    signed = sign(manifest, root).encode()
    pin = root.public.pin
    hello, answer = _flights(key)
    sessions = _Sessions(key, verifier)
    return [
        Target("device's message", decode_device_message, device),
        Target("verifier's message", decode_server_message, server),
        Target("record", decode_record, [record.to_bytes() for record in _records()]),
        Target("checkpoint", lambda data: open_checkpoint(_text(data), log_key.public), [note]),
        Target(
            "manifest",
            lambda data: open_manifest(_text(data), pin=pin, now_s=500.0, least_serial=0),
            [signed],
        ),
        Target("hello", lambda data: VerifierSession([key], verifier).receive(data), [hello]),
        Target("answer", lambda data: _receive_answer(key, data), [answer]),
        Target("frame to the verifier", sessions.frame_to_verifier, [sessions.frame]),
        Target("frame to the device", sessions.frame_to_device, [sessions.frame]),
        Target("sealed message to the verifier", sessions.message_to_verifier, device),
        Target("sealed message to the device", sessions.message_to_device, server),
    ]


def _encoded(messages: Iterable[Block | Cover | Verdict | Refusal | Welcome]) -> list[bytes]:
    return [encode(message) for message in messages]


def _device_messages() -> list[bytes]:
    states = bytes(range(62))
    fields: dict[str, Any] = {"caption": 3, "keep": 0, "prefix": (1, 2, 300)}
    fields |= {"tokens": (7, 8, 70_000), "state_positions": (0, 4)}
    blocks = [
        Block(**fields, state_dim=31, states=states),
        Block(**fields | {"state_positions": ()}, state_dim=0, states=b""),
    ]
    return _encoded([*blocks, Cover()])


def _server_messages() -> list[bytes]:
    welcome = Welcome(
        version=1, vocabulary=bytes(32), projection=bytes(32), state_dim=31, max_tokens=64
    )
    verdict = Verdict(caption=3, start=3, accepted=1, correction=9, continuation=(4, 500, 2))
    refusals = [Refusal(code=code) for code in RefusalCode]
    return _encoded([welcome, verdict, Cover(), *refusals])


def _records() -> Iterator[EgressRecord]:
    before = dict.fromkeys(("hour", "day", "lifetime"), (1, 2, 3, 4, 5))
    shared: dict[str, Any] = {"clip_norm": 1.0, "delta": 1e-6, "hour": 5, "user": "ada"}
    shared |= {"time_s": 18_000, "before": before}
    frame = {"frame_bytes": 256, "frame_sha256": bytes(32), "verifier": "abcde"}
    block = {"kind": "block", "caption": 1, "caption_id": bytes(16), "disclosure": "summary"}
    block |= {"tokens": (1, 2), "state_positions": (0,), "state_dim": 31, "sigma": 1.5}
    block |= {"spend": 10**9, "before": before | {"caption": (0,) * 5}}
    for fields in ({"kind": "hello"} | frame, {"kind": "reset", "resets": ("day",)}, block | frame):
        yield EgressRecord.model_validate(shared | fields)


def _flights(key: VerifierKey) -> tuple[bytes, bytes]:
    channel = ClientChannel(key.public)
    hello = channel.hello()
    return hello, ServerChannel(key).receive_hello(hello, b"welcome")


def _receive_answer(key: VerifierKey, data: bytes) -> object:
    channel = ClientChannel(key.public)
    channel.hello()
    return channel.receive_hello(data)


class _Sessions:
    """Pairs that share keys, made anew where one was closed by what it was fed."""

    def __init__(self, key: VerifierKey, verifier: Verifier) -> None:
        self._key = key
        self._verifier = verifier
        self._device: ClientChannel
        self._session: VerifierSession
        self._to_device: tuple[ServerChannel, ClientChannel]
        self.frame = self._connect().seal(encode(Cover()))

    def frame_to_verifier(self, data: bytes) -> object:
        self._connect()
        return self._session.receive(data)

    def frame_to_device(self, data: bytes) -> object:
        return self._pair()[1].open(data)

    def message_to_verifier(self, data: bytes) -> object:
        frame = self._connect().seal(data[:16_000])
        step = self._session.receive(frame)
        return self._session.finish(step.run()) if isinstance(step, Work) else step

    def message_to_device(self, data: bytes) -> object:
        server, device = self._pair()
        return decode_server_message(device.open(server.seal(data[:16_000])))

    def _connect(self) -> ClientChannel:
        """A device in session with a verifier's session."""
        self._session = VerifierSession([self._key], self._verifier)
        self._device = ClientChannel(self._key.public)
        reply = self._session.receive(self._device.hello())
        self._device.receive_hello(reply.frame)  # type: ignore[union-attr]
        return self._device

    def _pair(self) -> tuple[ServerChannel, ClientChannel]:
        server, device = ServerChannel(self._key), ClientChannel(self._key.public)
        device.receive_hello(server.receive_hello(device.hello(), b""))
        return server, device


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def damaged(data: bytes, choose: random.Random, others: Sequence[bytes]) -> bytes:
    """The example, damaged in one or several ways, until it is another."""
    sound, ways = data, choose.choice((1, 1, 1, 2, 5))
    while ways or data == sound:
        data = choose.choice(_DAMAGES)(data, choose, others)
        ways = max(0, ways - 1)
    return data


def _flip(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    at = choose.randrange(len(data)) if data else 0
    return (
        data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :] if data else b""
    )


def _replace(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    at = choose.randrange(len(data) + 1)
    return data[:at] + choose.randbytes(choose.choice((1, 2, 9))) + data[at + 1 :]


def _cut(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: choose.randrange(len(data) + 1)]


def _extend(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    return data + choose.choice((b"\0", b"\n", choose.randbytes(choose.randrange(300)), data))


def _splice(data: bytes, choose: random.Random, others: Sequence[bytes]) -> bytes:
    other = choose.choice(others)
    return data[: choose.randrange(len(data) + 1)] + other[choose.randrange(len(other) + 1) :]


def _noise(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    return choose.randbytes(choose.choice((0, 1, 3, 128, 256, 1024, 2386, 20_000)))


def _item(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    """An item of CBOR that no message holds, somewhere, or in the place of all."""
    item = choose.choice(_ITEMS)
    at = choose.randrange(len(data) + 1)
    return choose.choice((item, data[:at] + item + data[at + 1 :], data[:at] + item + data[at:]))


def _field(data: bytes, choose: random.Random, _: Sequence[bytes]) -> bytes:
    """Where it is a map: another value, a field more or less, or a key twice."""
    try:
        fields = cbor2.loads(data)
        if not isinstance(fields, dict) or not fields:
            return data
        name = choose.choice(list(fields))
        kind = choose.randrange(4)
        if kind == 0:
            fields[name] = choose.choice(_VALUES)
        elif kind == 1:
            del fields[name]
        elif kind == 2:
            fields[choose.choice(("note", "user", "kind", 7, b"states"))] = choose.choice(_VALUES)
        else:
            head, pair = bytes([0xA0 + min(len(fields) + 1, 23)]), cbor2.dumps(name)
            return head + pair + cbor2.dumps(fields[name]) + cbor2.dumps(fields)[1:]
        return cbor2.dumps(fields, canonical=choose.random() < 0.7)
    except Exception:  # damaged before, so that it is none
        return data


_DAMAGES = (_flip, _flip, _replace, _cut, _extend, _splice, _noise, _item, _item, _field, _field)
_ITEMS = (
    b"\x1b" + b"\xff" * 8,  # 2**64 - 1
    b"\x3b" + b"\xff" * 8,  # -2**64
    b"\x9b\x00\x00\x01\x00\x00\x00\x00\x00",  # an array of 2**40 items
    b"\xbb\x00\x00\x01\x00\x00\x00\x00\x00",  # a map of as many
    b"\x5b\x00\x00\x01\x00\x00\x00\x00\x00",  # a string of as many bytes
    b"\x9f" + b"\x01" * 50,  # an array without end
    b"\xbf\x61a\x01",
    b"\x5f\x41a\x41b",
    b"\x81" * 2000,  # nested
    b"\xa1\x01" * 500,
    b"\xc2\x59\x03\xe8" + b"\xff" * 1000,  # a bignum
    b"\xd8\x23\x65(a+)+",  # a regular expression
    b"\xd8\x1d\x00",  # a shared reference
    b"\xd9\xd9\xf7",  # CBOR's own mark
    b"\xc4\x82\x1b" + b"\xff" * 8 + b"\x01",  # a decimal with a huge exponent
    b"\xf9\x7e\x00",  # not a number
    b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # infinite
    b"\xf5\xf4\xf6\xf7",
    b"\x18\x01",  # not the shortest form
    b"\x79\xff\xff",
    b"\x62\xc3\x28",  # no UTF-8
)
_VALUES: tuple[Any, ...] = (
    -1, 0, 2**20, 2**32, 2**63, 2**70, 1.5, float("nan"), True, None, "", "x" * 5000, b"",
    b"\0" * 9, [], [[]], [1] * 300, [-1], ["a"], {"a": 1}, [2**40] * 3,
)  # fmt: skip
