"""The golden vectors of both versions: the code still writes and reads the frozen bytes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ugsd_privacy.protocol.channel import CHANNEL_VERSION, ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
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
from ugsd_privacy.protocol.traffic_shape import TrafficShape

FOLDER = Path(__file__).parent / "vectors"
WIRE: dict[str, Any] = json.loads((FOLDER / "wire-v2.json").read_text("utf-8"))
CHANNEL: dict[str, Any] = json.loads((FOLDER / "channel-v2.json").read_text("utf-8"))
KINDS = {kind.model_fields["kind"].default: kind for kind in (Block, Cover, Verdict, Refusal)}
KINDS["welcome"] = Welcome
BYTES = {"states", "vocabulary", "draft_weights"}

messages = pytest.mark.parametrize("vector", WIRE["messages"], ids=lambda v: v["name"])


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER / "make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def message_of(vector: dict[str, Any]) -> Any:
    fields = {
        name: bytes.fromhex(value)
        if name in BYTES
        else tuple(map(bytes.fromhex, value) if name == "projections" else value)
        if isinstance(value, list)
        else value
        for name, value in vector["fields"].items()
    }
    return KINDS[fields["kind"]](**fields)


def cbor_of(name: str) -> bytes:
    found = next(vector["cbor"] for vector in WIRE["messages"] if vector["name"] == name)
    return bytes.fromhex(found)


def test_vectors_are_of_the_current_versions() -> None:
    assert (WIRE_VERSION, CHANNEL_VERSION) == (2, 2)
    assert (WIRE["wire_version"], CHANNEL["channel_version"]) == (2, 2)


def test_every_kind_and_every_refusal_has_a_vector() -> None:
    kinds = {(vector["sender"], vector["fields"]["kind"]) for vector in WIRE["messages"]}
    to_device = {("verifier", kind) for kind in ("welcome", "verdict", "refusal", "cover")}
    assert kinds == {("device", "block"), ("device", "cover")} | to_device
    codes = {vector["fields"].get("code") for vector in WIRE["messages"]} - {None}
    assert codes == set(RefusalCode)


@messages
def test_messages_encode_to_the_recorded_bytes(vector: dict[str, Any]) -> None:
    message, data = message_of(vector), bytes.fromhex(vector["cbor"])
    decode = decode_device_message if vector["sender"] == "device" else decode_server_message
    assert encode(message) == data
    assert decode(data) == message


def recorded(name: str) -> bytes:
    return bytes.fromhex(CHANNEL["recorded_handshake"][name])


def test_recorded_hello_still_opens() -> None:
    server = ServerChannel(maker().key_of(recorded("verifier_private_key").hex()))
    assert server.receive_hello(recorded("hello"), b"")


def test_recorded_answer_still_opens_with_its_frames() -> None:
    key = maker().key_of(recorded("verifier_private_key").hex())
    device = ClientChannel(key.public)
    device.hello()
    device._hello, device._secret = recorded("hello"), recorded("secret_1")
    device._ephemeral = maker().key_of(recorded("ephemeral_private_key").hex())
    assert device.receive_hello(recorded("answer")) == cbor_of("welcome")
    server = ServerChannel(key)
    secrets = recorded("secret_1") + recorded("secret_2")
    server._share(secrets, bytes.fromhex(CHANNEL["transcript_sha256"]), role="verifier")
    welcome, *frames = CHANNEL["frames"]
    assert server.seal(cbor_of("welcome")) == bytes.fromhex(welcome["frame"])
    assert recorded("answer")[1170:] == bytes.fromhex(welcome["frame"])
    for vector in frames:
        frame, message = bytes.fromhex(vector["frame"]), cbor_of(vector["message"])
        to_server = vector["sender"] == "device"
        sender, reader = (device, server) if to_server else (server, device)
        assert sender.seal(message, TrafficShape(vector["shape"])) == frame
        assert reader.open(frame) == message
        assert sender._outgoing is not None
        assert sender._outgoing._secret.hex() == vector["next_secret"]


def test_recorded_frames_are_consecutive_with_distinct_keys() -> None:
    for sender in ("device", "verifier"):
        numbers = [v["number"] for v in CHANNEL["frames"] if v["sender"] == sender]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 4
    secrets = [v[name] for v in CHANNEL["frames"] for name in ("key", "next_secret")]
    assert len(set(secrets)) == len(secrets)


def test_generator_reproduces_the_vectors() -> None:
    session = maker().session(CHANNEL["recorded_handshake"])
    assert maker().text(session) == (FOLDER / "channel-v2.json").read_text("utf-8")
    assert maker().text(maker().messages()) == (FOLDER / "wire-v2.json").read_text("utf-8")
