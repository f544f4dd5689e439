"""Whatever a network attacker does, a receiver gets what was sent in order, or closes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ugsd_privacy.errors import ChannelClosed, FrameRejected, HandshakeFailed
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.protocol.traffic_shape import TrafficShape

KEY, OTHER = VerifierKey.generate(), VerifierKey.generate()


@dataclass
class Way:
    """One direction of a session."""

    sender: ClientChannel | ServerChannel
    receiver: ClientChannel | ServerChannel
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Messages and their frames."""
    received: list[bytes] = field(default_factory=list)


def damaged(draw: st.DataObject, data: bytes) -> bytes:
    kind = draw.draw(st.sampled_from(["as it is", "flipped", "cut", "grown"]))
    at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
    match kind:
        case "flipped" if data:
            return data[:at] + bytes([data[at] ^ draw.draw(st.integers(1, 255))]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "grown":
            return data + draw.draw(st.binary(min_size=1, max_size=130))
    return data


class Attacker(RuleBasedStateMachine):
    """Both channels, with an attacker in between who stores all frames of all sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = [b""]
        self.hellos: list[bytes] = [b""]
        self.answers: list[bytes] = [b""]
        self.ways: list[Way] = []

    @precondition(lambda self: any(self.is_closed(way.receiver) for way in self.ways))
    @rule()
    def connect_again(self) -> None:
        self.connect()

    @initialize()
    def connect(self) -> None:
        """Complete a handshake without interference."""
        device, verifier = ClientChannel(KEY.public), ServerChannel(OTHER, KEY)
        hello = device.hello()
        answer = verifier.receive_hello(hello, b"welcome")
        assert device.receive_hello(answer) == b"welcome"
        self.hellos.append(hello)
        self.answers.append(answer)
        self.frames.append(answer[1170:])
        self.ways = [Way(device, verifier), Way(verifier, device)]

    @rule(draw=st.data())
    def tamper_with_a_handshake(self, draw: st.DataObject) -> None:
        """The device gets its keys only if nobody touched either flight."""
        device, verifier = ClientChannel(KEY.public), ServerChannel(KEY)
        hello = device.hello()
        given = damaged(draw, draw.draw(st.sampled_from([hello, *self.hellos[-3:]])))
        self.hellos.append(hello)
        try:
            answer = verifier.receive_hello(given, b"welcome")
        except HandshakeFailed:
            assert given not in self.hellos[1:]
            assert self.is_closed(verifier)
            answer = b""
        read = damaged(draw, draw.draw(st.sampled_from([answer, *self.answers[-3:]])))
        if given == hello and read == answer:
            assert device.receive_hello(read) == b"welcome"
        else:
            with pytest.raises(HandshakeFailed):
                device.receive_hello(read)
            assert self.is_closed(device)
        self.answers.append(answer)

    @rule(
        way=st.integers(0, 1), message=st.binary(max_size=300), shape=st.sampled_from(TrafficShape)
    )
    def send(self, way: int, message: bytes, shape: TrafficShape) -> None:
        one = self.ways[way]
        if self.is_closed(one.sender):
            with pytest.raises(ChannelClosed):
                one.sender.seal(message, shape)
            return
        frame = one.sender.seal(message, shape)
        one.sent.append((message, frame))
        self.frames.append(frame)

    @rule(way=st.integers(0, 1))
    def deliver_the_next(self, way: int) -> None:
        one = self.ways[way]
        if len(one.received) < len(one.sent):
            self.put(one, one.sent[len(one.received)][1])

    @rule(way=st.integers(0, 1), back=st.integers(1, 6), draw=st.data())
    def deliver_anything(self, way: int, back: int, draw: st.DataObject) -> None:
        """Replayed, reordered, early, of the other direction or another session, or damaged."""
        frame = self.frames[-min(back, len(self.frames))]
        self.put(self.ways[way], damaged(draw, frame))

    @invariant()
    def what_was_received_is_how_what_was_sent_begins(self) -> None:
        for way in self.ways:
            assert way.received == [message for message, _ in way.sent[: len(way.received)]]

    def put(self, way: Way, frame: bytes) -> None:
        number = len(way.received)
        due = way.sent[number][1] if number < len(way.sent) else None
        if self.is_closed(way.receiver):
            with pytest.raises(ChannelClosed):
                way.receiver.open(frame)
        elif frame == due:
            way.received.append(way.receiver.open(frame))
        else:
            with pytest.raises(FrameRejected):
                way.receiver.open(frame)
            assert self.is_closed(way.receiver)

    @staticmethod
    def is_closed(channel: ClientChannel | ServerChannel) -> bool:
        return channel.frames_remaining == 0


TestAttacker = Attacker.TestCase
TestAttacker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
