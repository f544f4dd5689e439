"""Both sides of the channel against a Go peer, whose HPKE, HKDF and AEAD are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ugsd_privacy.errors import FrameRejected, HandshakeFailed
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.channel import FRAME_BYTES, ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import MAX_MESSAGE_BYTES, RefusalCode
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from tests.conformance.conftest import GoPeer, Rejected

VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture(scope="module")
def key() -> VerifierKey:
    return VerifierKey.generate()


def to_go(peer: GoPeer) -> ClientChannel:
    """Start a session of our device with Go's verifier."""
    device = ClientChannel(VerifierPublicKey(peer.ask("public")))
    answer = peer.ask("answer", data=device.hello(), welcome=b"welcome")
    assert device.receive_hello(answer) == b"welcome"
    return device


def from_go(peer: GoPeer, *keys: VerifierKey, pinned: VerifierKey | None = None) -> ServerChannel:
    """Start a session of our verifier with Go's device."""
    verifier = ServerChannel(*keys)
    hello = peer.ask("hello", data=(pinned or keys[0]).public.raw)
    assert peer.ask("read", data=verifier.receive_hello(hello, b"welcome")) == b"welcome"
    return verifier


def talk(ours: ClientChannel | ServerChannel, peer: GoPeer, seed: int) -> None:
    """Exchange frames of every size and both shapes, in random order."""
    chance = Random(seed)
    edges = [size - 19 + step for size in FRAME_BYTES for step in (-1, 0, 1)]
    lengths = [0, 1] + [n for n in edges if n <= MAX_MESSAGE_BYTES] + [MAX_MESSAGE_BYTES]
    for n in lengths * 3:
        message = chance.randbytes(n)
        shape = (
            TrafficShape.CONSTANT
            if n <= 1024 - 19 and chance.random() < 0.5
            else TrafficShape.PADDED
        )
        if chance.random() < 0.5:
            assert peer.ask("open", data=ours.seal(message, shape)) == message
        else:
            frame = peer.ask("seal", data=message, constant=shape is TrafficShape.CONSTANT)
            assert len(frame) == ours.sealed_size(n, shape)
            assert ours.open(frame) == message


def flipped(data: bytes) -> list[bytes]:
    return [
        data[:at] + bytes([byte ^ 1 << at % 8]) + data[at + 1 :] for at, byte in enumerate(data)
    ]


def cut_and_grown(data: bytes) -> list[bytes]:
    return [b"", data[:1], data[:-1], data[1:], data + b"\0", data[:100], data + data]


def test_go_verifier_talks_with_our_device(go_peer: GoPeer) -> None:
    for seed in range(3):
        talk(to_go(go_peer), go_peer, seed)


def test_go_device_talks_with_our_verifier(go_peer: GoPeer, key: VerifierKey) -> None:
    for seed in range(3):
        talk(from_go(go_peer, key), go_peer, seed)


def test_go_can_pin_either_key_during_rotation(go_peer: GoPeer, key: VerifierKey) -> None:
    new = VerifierKey.generate()
    for pinned in (key, new):
        verifier = from_go(go_peer, new, key, pinned=pinned)
        assert verifier.key is pinned
        talk(verifier, go_peer, 0)


def test_go_rejects_our_damaged_handshakes(go_peer: GoPeer, key: VerifierKey) -> None:
    hello = ClientChannel(VerifierPublicKey(go_peer.ask("public"))).hello()
    for wrong in flipped(hello) + cut_and_grown(hello):
        with pytest.raises(Rejected):
            go_peer.ask("answer", data=wrong, welcome=b"")
    for at in range(1170 + 128):
        hello = go_peer.ask("hello", data=key.public.raw)
        answer = bytearray(ServerChannel(key).receive_hello(hello, b""))
        answer[at] ^= 1 << at % 8
        with pytest.raises(Rejected):
            go_peer.ask("read", data=bytes(answer))
    for change in range(7):
        hello = go_peer.ask("hello", data=key.public.raw)
        answers = cut_and_grown(ServerChannel(key).receive_hello(hello, b""))
        with pytest.raises(Rejected):
            go_peer.ask("read", data=answers[change])


def test_we_reject_damaged_go_handshakes(go_peer: GoPeer, key: VerifierKey) -> None:
    hello = go_peer.ask("hello", data=key.public.raw)
    for wrong in flipped(hello) + cut_and_grown(hello):
        with pytest.raises(HandshakeFailed):
            ServerChannel(key).receive_hello(wrong, b"")
    pinned = VerifierPublicKey(go_peer.ask("public"))
    for at in range(1170 + 128 + 7):
        device = ClientChannel(pinned)
        answer = go_peer.ask("answer", data=device.hello(), welcome=b"")
        wrong = (flipped(answer) + cut_and_grown(answer))[at]
        with pytest.raises(HandshakeFailed):
            device.receive_hello(wrong)


def test_both_sides_reject_damaged_frames(go_peer: GoPeer) -> None:
    for at in range(128 + 7):
        device = to_go(go_peer)
        frame = device.seal(b"message")
        with pytest.raises(Rejected):
            go_peer.ask("open", data=(flipped(frame) + cut_and_grown(frame))[at])
        device = to_go(go_peer)
        frame = go_peer.ask("seal", data=b"message")
        with pytest.raises(FrameRejected):
            device.open((flipped(frame) + cut_and_grown(frame))[at])


@pytest.mark.parametrize("attack", ["replayed", "dropped", "reflected", "of another session"])
def test_both_sides_reject_frames_out_of_order(go_peer: GoPeer, attack: str) -> None:
    def misplaced(sent: list[bytes], received: list[bytes], foreign: list[bytes]) -> bytes:
        """With one frame each way behind both, whichever frame is not the next."""
        return {
            "replayed": sent[0],
            "dropped": sent[2],
            "reflected": received[1],
            "of another session": foreign[1],
        }[attack]

    def session() -> tuple[ClientChannel, list[bytes], list[bytes]]:
        device = to_go(go_peer)
        ours = [device.seal(b"%d" % n) for n in range(3)]
        theirs = [go_peer.ask("seal", data=b"%d" % n) for n in range(3)]
        return device, ours, theirs

    _, our_foreign, their_foreign = session()
    device, ours, theirs = session()
    assert go_peer.ask("open", data=ours[0]) == b"0"
    assert device.open(theirs[0]) == b"0"
    with pytest.raises(FrameRejected):
        device.open(misplaced(theirs, ours, their_foreign))
    with pytest.raises(Rejected):
        go_peer.ask("open", data=misplaced(ours, theirs, our_foreign))
    with pytest.raises(Rejected):
        go_peer.ask("open", data=ours[1])  # closed: the right one comes too late


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_peer_of_another_version_is_rejected(
    go_peer: GoPeer, key: VerifierKey, version: int
) -> None:
    go_peer.ask("speak", version=version)
    with pytest.raises(HandshakeFailed):
        ServerChannel(key).receive_hello(go_peer.ask("hello", data=key.public.raw), b"")
    device = ClientChannel(VerifierPublicKey(go_peer.ask("public")))
    hello = device.hello()
    for offered in (hello, hello[:1] + bytes([version]) + hello[2:]):
        with pytest.raises(Rejected):
            go_peer.ask("answer", data=offered, welcome=b"")


def test_go_reproduces_the_recorded_session(
    go_peer: GoPeer,
) -> None:
    wire: dict[str, Any] = json.loads((VECTORS / "wire-v2.json").read_text("utf-8"))
    channel: dict[str, Any] = json.loads((VECTORS / "channel-v2.json").read_text("utf-8"))
    cbor = {message["name"]: bytes.fromhex(message["cbor"]) for message in wire["messages"]}
    assert go_peer.ask("replay", **channel["recorded_handshake"]) == cbor["welcome"]
    for vector in channel["frames"][1:]:  # the first came with the answer
        frame, message = bytes.fromhex(vector["frame"]), cbor[vector["message"]]
        if vector["sender"] == "verifier":
            assert go_peer.ask("open", data=frame) == message
        else:
            constant = vector["shape"] == "constant"
            assert go_peer.ask("seal", data=message, constant=constant) == frame


def test_go_reads_the_recorded_messages(go_peer: GoPeer) -> None:
    wire: dict[str, Any] = json.loads((VECTORS / "wire-v2.json").read_text("utf-8"))
    for vector in wire["messages"]:
        data, fields = bytes.fromhex(vector["cbor"]), vector["fields"]
        if fields["kind"] == "welcome":
            continue
        if fields["kind"] == "refusal":
            fields = fields | {"code": list(RefusalCode).index(fields["code"])}
        assert json.loads(go_peer.ask("decode", data=data)) == fields
        for wrong in set(cut_and_grown(data)) - {data}:
            with pytest.raises(Rejected):
                go_peer.ask("decode", data=wrong)
    for wrong in ("8104", "8203", "850000008107" + "80", "8402000000" + "f6", "a0", "9800"):
        with pytest.raises(Rejected):
            go_peer.ask("decode", data=bytes.fromhex(wrong))
