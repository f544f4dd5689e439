"""Damaged, replayed and foreign bytes close a channel, and all failures look the same."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ugsd_privacy.errors import FrameRejected, HandshakeFailed
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol import channel as channel_module
from ugsd_privacy.protocol.channel import FRAME_BYTES, ClientChannel, ServerChannel
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from tests.privacy.protocol.channel_pairs import (
    ANSWER_BYTES,
    Connect,
    assert_closed,
    assert_no_oracle,
    flipped,
)


def test_flipped_byte_in_hello_fails_uniformly(verifier_key: VerifierKey) -> None:
    hello = ClientChannel(verifier_key.public).hello()
    with pytest.raises(HandshakeFailed) as empty:
        ServerChannel(verifier_key).receive_hello(b"", b"")
    for at in range(len(hello)):
        server = ServerChannel(verifier_key)
        with pytest.raises(HandshakeFailed) as failure:
            server.receive_hello(flipped(hello, at), b"")
        assert_no_oracle(failure.value, empty.value)
    assert_closed(server)


def test_flipped_byte_in_answer_fails_uniformly(verifier_key: VerifierKey) -> None:
    client = ClientChannel(verifier_key.public)
    client.hello()
    with pytest.raises(HandshakeFailed) as empty:
        client.receive_hello(b"")
    for at in range(ANSWER_BYTES):
        client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
        answer = server.receive_hello(client.hello(), b"welcome")
        with pytest.raises(HandshakeFailed) as failure:
            client.receive_hello(flipped(answer, at))
        assert_no_oracle(failure.value, empty.value)
    assert_closed(client)


def test_flipped_byte_in_frame_closes_channel(connect: Connect) -> None:
    _, server = connect()
    with pytest.raises(FrameRejected) as empty:
        server.open(b"")
    assert str(empty.value) == "a frame was rejected; the channel is closed"
    for at in range(128):
        client, server = connect()
        with pytest.raises(FrameRejected) as failure:
            server.open(flipped(client.seal(b"message"), at))
        assert_no_oracle(failure.value, empty.value)
        assert_closed(server)


@given(st.data())
def test_truncated_and_extended_frames_fail(connect: Connect, data: st.DataObject) -> None:
    client, server = connect()
    frame = client.seal(
        bytes(data.draw(st.integers(0, 600))), data.draw(st.sampled_from(TrafficShape))
    )
    cut = data.draw(st.one_of(st.integers(0, len(frame) - 1), st.sampled_from(FRAME_BYTES)))
    longer = data.draw(st.one_of(st.just(len(frame) + 1), st.sampled_from(FRAME_BYTES)))
    wrong = data.draw(st.sampled_from([frame[:cut], frame.ljust(longer, b"\0"), frame + frame]))
    assume(wrong != frame)
    with pytest.raises(FrameRejected):
        server.open(wrong)
    assert_closed(server)


@given(st.data())
def test_truncated_extended_or_arbitrary_flights_fail(
    verifier_key: VerifierKey, data: st.DataObject
) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    cut = data.draw(st.integers(0, len(hello) - 1))
    junk = data.draw(st.binary(max_size=64))
    wrong = data.draw(st.sampled_from([hello[:cut], hello + b"\0", junk, b"\1\2" + junk]))
    with pytest.raises(HandshakeFailed):
        server.receive_hello(wrong, b"")
    answer = ServerChannel(verifier_key).receive_hello(hello, b"")
    cut = data.draw(st.integers(0, len(answer) - 1))
    with pytest.raises(HandshakeFailed):
        client.receive_hello(data.draw(st.sampled_from([answer[:cut], answer + b"\0", junk])))


@given(st.binary(max_size=600))
def test_arbitrary_frames_are_rejected(verifier_key: VerifierKey, frame: bytes) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    client.receive_hello(server.receive_hello(client.hello(), b""))
    with pytest.raises(FrameRejected):
        server.open(frame)


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 255])
def test_other_types_and_versions_fail(verifier_key: VerifierKey, at: int, value: int) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    for flight, receive in (
        (hello, lambda data: ServerChannel(verifier_key).receive_hello(data, b"")),
        (server.receive_hello(hello, b""), client.receive_hello),
    ):
        if flight[at] == value:
            continue
        with pytest.raises(HandshakeFailed):
            receive(flight[:at] + bytes([value]) + flight[at + 1 :])


@pytest.mark.parametrize("version", [b"\1", b"\3"], ids=["older", "newer"])
@pytest.mark.parametrize("label", ["hello", "answer", "device", "verifier", "frame"])
def test_label_of_another_version_fails(
    verifier_key: VerifierKey, monkeypatch: pytest.MonkeyPatch, label: str, version: bytes
) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    name = f"_{label.upper()}_INFO"
    ours: bytes = getattr(channel_module, name)
    hello = client.hello()
    with monkeypatch.context() as other:
        other.setattr(channel_module, name, ours[:-1] + version)
        if label == "hello":
            with pytest.raises(HandshakeFailed):
                server.receive_hello(hello, b"")
            return
        answer = server.receive_hello(hello, b"")
    if label == "device":  # the welcome opens; the device's own frames do not
        client.receive_hello(answer)
        with pytest.raises(FrameRejected):
            server.open(client.seal(b"message"))
    else:
        with pytest.raises(HandshakeFailed):
            client.receive_hello(answer)


def test_answer_to_another_hello_fails(verifier_key: VerifierKey) -> None:
    ours, theirs = ClientChannel(verifier_key.public), ClientChannel(verifier_key.public)
    ours.hello()
    with pytest.raises(HandshakeFailed):
        ours.receive_hello(ServerChannel(verifier_key).receive_hello(theirs.hello(), b""))


def test_welcome_from_another_session_fails(verifier_key: VerifierKey) -> None:
    client = ClientChannel(verifier_key.public)
    hello = client.hello()
    one, two = (ServerChannel(verifier_key).receive_hello(hello, b"") for _ in range(2))
    with pytest.raises(HandshakeFailed):
        client.receive_hello(one[:-128] + two[-128:])


def test_replayed_hello_opens_no_session(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    client.receive_hello(server.receive_hello(hello, b""))
    second = ServerChannel(verifier_key)
    second.receive_hello(hello, b"")
    with pytest.raises(FrameRejected):
        second.open(client.seal(b"message"))


def test_replayed_reordered_dropped_and_reflected_frames_are_rejected(connect: Connect) -> None:
    client, server = connect()
    frame = client.seal(b"1")
    server.open(frame)
    with pytest.raises(FrameRejected):
        server.open(frame)
    client, server = connect()
    _, second = client.seal(b"1"), client.seal(b"2")
    with pytest.raises(FrameRejected):
        server.open(second)
    client, server = connect()
    _, reflected = client.seal(b"0"), client.seal(b"1")  # one more than the server has sent
    with pytest.raises(FrameRejected):
        client.open(reflected)


def test_frames_of_another_session_or_direction_are_rejected(connect: Connect) -> None:
    (client, server), (other_client, other_server) = connect(), connect()
    for device, verifier in ((client, server), (other_client, other_server)):
        device.open(
            verifier.seal(b"in step")
        )  # so that both directions are at frame 2 after the welcome
        verifier.open(device.seal(b"in step"))
        verifier.open(device.seal(b"in step"))
    for reader, foreign in (
        (server, other_client.seal(b"2")),
        (client, other_server.seal(b"2")),
        (other_client, client.seal(b"2")),
        (other_server, server.seal(b"2")),
    ):
        with pytest.raises(FrameRejected):
            reader.open(foreign)


@pytest.mark.parametrize(
    "inside",
    [
        (b"\0\1a" + bytes(106) + b"\1").ljust(111, b"\0"),  # padding that is not zero
        b"\xff\xff" + bytes(109),  # a length beyond the frame
        b"\0\1a" + bytes(236),  # one size larger than needed
        b"\0\1a" + bytes(2028),  # larger than the constant size
        b"\4\0a" + bytes(1004),  # of the constant size, with a length beyond it
        b"\0\1a" + bytes(1003) + b"\1",  # of the constant size, with padding that is not zero
        b"\0\1a" + bytes(100),  # not a frame size
    ],
)
def test_authentic_frames_of_wrong_shape_are_rejected(connect: Connect, inside: bytes) -> None:
    client, server = connect()
    direction = client._outgoing
    assert direction is not None
    aead, nonce = direction._next()
    frame = b"\3" + aead.encrypt(nonce, inside, b"\3")
    with pytest.raises(FrameRejected):
        server.open(frame)
    assert_closed(server)
