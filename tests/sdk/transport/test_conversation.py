"""The websocket protocol without I/O: which events each kind of bytes causes."""

from __future__ import annotations

import pytest
from ugsd_sdk.errors import TransportError, VerifierMisbehaved, VerifierUnreachable
from ugsd_sdk.transport.conversation import Conversation, Failed, Upgraded
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

URI = parse_uri("ws://verifier.example:8700")


def answer_to(request: bytes) -> bytes:
    """Return the upgrade response of a server that accepts every request."""
    server = ServerProtocol()
    server.receive_data(request)
    (upgrade,) = server.events_received()
    assert isinstance(upgrade, Request)
    server.send_response(server.accept(upgrade))
    return b"".join(server.data_to_send())


def upgraded() -> Conversation:
    conversation = Conversation(URI, "verifier.example:8700")
    conversation.begin()
    (request,) = conversation.data_to_send()
    assert events(conversation, answer_to(request)) == [Upgraded()]
    return conversation


def events(conversation: Conversation, data: bytes) -> list[Upgraded | Failed]:
    conversation.receive(data)
    return list(conversation.events(len(data)))


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def test_fragmented_messages_are_joined() -> None:
    conversation = upgraded()
    assert events(conversation, frame(Opcode.BINARY, b"one")) == []
    assert events(conversation, frame(Opcode.BINARY, b"tw", fin=False)) == []
    assert events(conversation, frame(Opcode.CONT, b"o")) == []
    assert list(conversation.unread) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (frame(Opcode.TEXT, b"text"), VerifierMisbehaved, "sent a text message"),
        (b"\xff\xff", VerifierMisbehaved, "violated the websocket protocol"),
        (
            frame(Opcode.CLOSE, Close(1008, "").serialize()),
            VerifierUnreachable,
            "closed the connection",
        ),
        (b"", VerifierUnreachable, "was lost"),
        (5 * frame(Opcode.BINARY, b"x"), VerifierMisbehaved, "too much unsolicited data"),
        (500 * frame(Opcode.PING), VerifierMisbehaved, "too much unsolicited data"),
    ],
    ids=["text", "garbage", "close", "end", "unread", "pings"],
)
def test_peer_faults_are_named(data: bytes, kind: type[TransportError], message: str) -> None:
    (event, *_) = events(upgraded(), data)
    assert isinstance(event, Failed)
    assert isinstance(event.make(), kind)
    assert message in str(event.make())


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n\r\n"],
    ids=["http", "ssh"],
)
def test_non_websocket_server_is_no_verifier(data: bytes) -> None:
    conversation = Conversation(URI, "verifier.example:8700")
    conversation.begin()
    event = events(conversation, data)[0]
    assert isinstance(event, Failed)
    assert event.is_abrupt
    assert "no verifier answers at verifier.example:8700" in str(event.make())


def test_frames_after_end_are_ignored() -> None:
    conversation = upgraded()
    conversation.end()
    (goodbye,) = conversation.data_to_send()
    assert goodbye[0] == 0x80 | Opcode.CLOSE
    events(conversation, frame(Opcode.BINARY, b"late"))
    assert not conversation.unread
