"""Frames of a session: their sizes, and how many a session has."""

from __future__ import annotations

import pytest
from ugsd_privacy.errors import ChannelClosed, FrameRejected, WireError
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol import channel as channel_module
from ugsd_privacy.protocol.channel import FRAME_BYTES, ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import (
    MAX_MESSAGE_BYTES,
    MAX_STATE_DIM,
    AskedSlot,
    Block,
    ContinueTo,
    Cover,
    Verdict,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape

from tests.privacy.protocol.channel_pairs import (
    Connect,
    assert_closed,
)


def test_every_message_has_the_predicted_frame_size(connect: Connect) -> None:
    client, server = connect()
    edges = {size - 19 + step for size in FRAME_BYTES for step in (-1, 0, 1)}
    for n in sorted({0, 1, MAX_MESSAGE_BYTES} | {n for n in edges if n <= MAX_MESSAGE_BYTES}):
        frame = client.seal(b"\7" * n)
        assert len(frame) == client.sealed_size(n)
        assert len(frame) == min(size for size in FRAME_BYTES if size >= n + 19)
        assert server.open(frame) == b"\7" * n


def test_constant_shape_has_one_frame_size(connect: Connect) -> None:
    client, server = connect()
    for n in (0, 1, 109, 110, 493, 494, CONSTANT_FRAME_BYTES - 19):
        for sender, reader in ((client, server), (server, client)):
            frame = sender.seal(b"\7" * n, TrafficShape.CONSTANT)
            assert (
                len(frame) == sender.sealed_size(n, TrafficShape.CONSTANT) == CONSTANT_FRAME_BYTES
            )
            assert TrafficShape.of(frame) is TrafficShape.CONSTANT
            assert reader.open(frame) == b"\7" * n
    assert [
        size for size in FRAME_BYTES if TrafficShape.of(bytes(size)) is TrafficShape.CONSTANT
    ] == [1024]


def test_message_beyond_constant_size_is_refused_without_effect(connect: Connect) -> None:
    client, server = connect()
    n = CONSTANT_FRAME_BYTES - 18
    for refused in (client.sealed_size, lambda n, shape: client.seal(bytes(n), shape)):
        with pytest.raises(WireError, match="constant size"):
            refused(n, TrafficShape.CONSTANT)
    assert server.open(client.seal(bytes(n))) == bytes(n)


def test_constant_size_is_smallest_for_summary_disclosure() -> None:
    largest = 2**20 - 1
    block = Block(
        caption=2**32 - 1,
        slot=AskedSlot.EMOTION,
        tokens=(largest,) * 5,
        state_positions=(0,),
        states=bytes(MAX_STATE_DIM),
        projection=15,
        prefix=(largest,) * 59,
        continue_to=ContinueTo.CAPTION,
        exponent=10,
        draft_weights=bytes(63) + b"\1",
    )
    verdict = Verdict(
        caption=2**32 - 1,
        start=100,
        accepted=100,
        correction=largest,
        continuation=(largest,) * 55,
    )
    smaller = max(size for size in FRAME_BYTES if size < CONSTANT_FRAME_BYTES)
    assert smaller < len(encode(block)) + 19 <= CONSTANT_FRAME_BYTES
    assert len(encode(verdict)) < len(encode(block))
    assert len(encode(Cover())) < smaller


def test_too_long_message_is_refused_without_effect(connect: Connect) -> None:
    client, server = connect()
    for refused in (client.sealed_size, lambda n: client.seal(bytes(n))):
        with pytest.raises(WireError):
            refused(MAX_MESSAGE_BYTES + 1)
    assert server.open(client.seal(b"next")) == b"next"


def test_exhausted_counter_ends_the_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = connect()
    monkeypatch.setattr(channel_module, "_MAX_FRAMES", 2)
    server.open(client.seal(b"1"))
    client.seal(b"2")
    with pytest.raises(ChannelClosed):
        client.seal(b"3")
    assert_closed(client)


def test_receiver_refuses_frames_after_the_last_number(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = connect()
    first, beyond = client.seal(b"1"), client.seal(b"2")
    monkeypatch.setattr(channel_module, "_MAX_FRAMES", 1)
    assert server.open(first) == b"1"
    with pytest.raises(FrameRejected):
        server.open(beyond)


def test_each_side_reports_remaining_frames(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    assert client.frames_remaining == server.frames_remaining == 0
    client.receive_hello(server.receive_hello(client.hello(), b""))
    assert (client.frames_remaining, server.frames_remaining) == (2**16, 2**16 - 1)
    client.seal(b"1")
    assert (client.frames_remaining, server.frames_remaining) == (2**16 - 1, 2**16 - 1)
    client.close()
    assert client.frames_remaining == 0
