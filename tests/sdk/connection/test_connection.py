"""The life of the connection under a captioner: late answers, losses, and coming back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.protocol import channel as channel_module
from ugsd_privacy.protocol.channel import ServerChannel
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.errors import VerifierMismatch
from ugsd_sdk.transport.memory import MemoryTransport

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def test_a_late_answer_is_dropped_and_the_next_caption_verified(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    late: list[MemoryTransport] = []
    real = fake.transport

    def holding() -> MemoryTransport:
        transport = real()
        late.append(transport)
        return transport

    with new_captioner(verifier=holding) as captioner:
        captioner.wait_until_connected()
        answers = late[0]._answers
        held: list[bytes] = []

        class Slow:
            def append(self, answer: bytes) -> None:
                held.append(answer)

            def __bool__(self) -> bool:
                return False

            def clear(self) -> None: ...

        late[0]._answers = Slow()  # type: ignore[assignment]
        assert captioner.caption(voice, 16_000).unverified_reason == "deadline"
        assert captioner.caption(voice, 16_000).unverified_reason == "deadline"
        assert len(fake.blocks) == 1, "nothing more leaves while an answer is owed"
        answers.extend(held)
        late[0]._answers = answers
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert fake.connections == 1


def test_a_connection_lost_while_idle_is_replaced_before_anything_is_charged(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    transports = []

    def remembered() -> MemoryTransport:
        transports.append(fake.transport())
        return transports[-1]

    with new_captioner(verifier=remembered) as captioner:
        captioner.wait_until_connected()
        transports[0].close()
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert fake.connections == 2


def test_a_connection_lost_in_mid_caption_lets_nothing_more_of_that_caption_out(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    def closing_after_one_verdict() -> MemoryTransport:
        transport: MemoryTransport = fake.transport()
        receive = transport.receive

        def receive_and_close(timeout_s: float) -> bytes:
            data = receive(timeout_s)
            if fake.blocks and fake.connections == 1:
                transport.close()
            return data

        transport.receive = receive_and_close  # type: ignore[method-assign]
        return transport

    with new_captioner(verifier=closing_after_one_verdict) as captioner:
        caption = captioner.caption(voice, 16_000)
        captioner.wait_until_connected()
        assert len(fake.blocks) == 1, "a new session holds nothing that a block could build on"
        assert fake.connections == 2, "and is made for the next caption"
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert caption.unverified_reason == "verifier unreachable"
    assert caption.usage.num_blocks == caption.usage.num_frames == len(caption.receipts) == 1
    sources = [token.source for token in caption.tokens]
    assert sources == [TokenSource.VERIFIED] * 5 + [TokenSource.DRAFTED] * (len(sources) - 5)


def test_it_reconnects_on_a_later_caption_after_a_lie(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ugsd_sdk.connection.verifier_connection._FIRST_BACK_OFF_S", 0.0)
    honest, fake.answer = fake.answer, lambda block: b"garbage"
    with new_captioner() as captioner:
        captioner._load().link._first_back_off_s = 0.0
        assert captioner.caption(voice, 16_000).unverified_reason == "verifier misbehaved"
        fake.answer = honest
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.connections == 2


@pytest.mark.parametrize("version", [0, 2, 255], ids=["older", "newer", "newest"])
def test_a_welcome_of_another_wire_version_is_refused_and_both_are_named(
    new_captioner: New, fake: Any, voice: Voice, version: int
) -> None:
    welcome = cbor2.dumps(
        {"kind": "welcome", "version": version, "of another shape": [1, 2]}, canonical=True
    )
    frames = []

    def transport() -> MemoryTransport:
        channel = ServerChannel(fake.key)

        def peer(data: bytes) -> bytes:
            frames.append(data)
            return channel.receive_hello(data, welcome)

        return MemoryTransport(peer)

    with new_captioner(verifier=transport) as captioner:
        told = f"speaks wire version {version}, this device 1"
        with pytest.raises(VerifierMismatch, match=told) as refused:
            captioner.wait_until_connected(5)
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason == refused.value.reason == "verifier of another version"
    assert len(frames) == 1, "no block is sent"


@pytest.mark.parametrize("version", [b"\1", b"\3"], ids=["older", "newer"])
def test_a_verifier_of_another_channel_version_is_refused_and_ours_is_named(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch, version: bytes
) -> None:
    real = ServerChannel.receive_hello

    def of_another_version(self: ServerChannel, data: bytes, welcome: bytes) -> bytes:
        with monkeypatch.context() as theirs:
            theirs.setattr(channel_module, "_VERSION", version)
            return real(self, data, welcome)

    monkeypatch.setattr(ServerChannel, "receive_hello", of_another_version)
    with new_captioner() as captioner:
        with pytest.raises(VerifierMismatch, match="channel version 2"):
            captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).usage.num_frames == 0
    assert not fake.blocks
