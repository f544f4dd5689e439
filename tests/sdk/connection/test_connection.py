"""A captioner's connection: late answers, losses, and reconnecting."""

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
from ugsd_sdk.connection.circuit import Circuit
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.errors import VerifierMismatch, VerifierUnreachable
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def test_late_answer_is_dropped_and_next_caption_verified(
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
        delayed: list[bytes] = []

        class Slow:
            def append(self, answer: bytes) -> None:
                delayed.append(answer)

            def __bool__(self) -> bool:
                return False

            def clear(self) -> None: ...

        late[0]._answers = Slow()  # type: ignore[assignment]
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "deadline"
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "deadline"
        assert len(fake.blocks) == 1, "nothing more is sent before the late answer"
        answers.extend(delayed)
        late[0]._answers = answers
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert fake.connections == 1


def test_connection_lost_while_idle_is_replaced_without_charge(
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


def test_connection_lost_during_caption_sends_nothing_more(
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
        assert len(fake.blocks) == 1, "a new session does not know the caption's tokens"
        assert fake.connections == 2, "the next caption gets a new session"
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert why_of(caption.unverified_reason) == "verifier_unreachable"
    assert caption.usage.num_blocks == caption.usage.num_frames == len(caption.receipts) == 1
    sources = [token.source for token in caption.tokens]
    assert sources == [TokenSource.VERIFIED] * 5 + [TokenSource.DRAFTED] * (len(sources) - 5)


def test_reconnects_after_verifier_misbehaved(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Circuit.__init__.__kwdefaults__, "first_back_off_s", 0.0)
    honest, fake.answer = fake.answer, lambda block: b"garbage"
    with new_captioner() as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "verifier_misbehaved"
        fake.answer = honest
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.connections == 2


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_other_wire_version_is_refused_naming_both(
    new_captioner: New, fake: Any, voice: Voice, version: int
) -> None:
    welcome = cbor2.dumps(
        {"kind": "welcome", "version": version, "projection": bytes(32), "of another shape": [1]},
        canonical=True,
    )
    frames = []

    def transport() -> MemoryTransport:
        channel = ServerChannel(fake.key)

        def peer(data: bytes) -> bytes:
            frames.append(data)
            return channel.receive_hello(data, welcome)

        return MemoryTransport(peer)

    with new_captioner(verifier=transport) as captioner:
        message = f"uses wire version {version}, this device 2"
        with pytest.raises(VerifierMismatch, match=message) as refused:
            captioner.wait_until_connected(5)
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == why_of(refused.value.reason) == "other_version"
    assert len(frames) == 1, "no block is sent"


@pytest.mark.parametrize("version", [b"\1", b"\3"], ids=["older", "newer"])
def test_other_channel_version_is_refused_naming_ours(
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


def test_each_wait_raises_a_new_error(new_captioner: New) -> None:
    def broken() -> MemoryTransport:
        raise VerifierUnreachable("nobody there: check the address")

    with new_captioner(verifier=broken) as captioner:
        raised = []
        for _ in range(2):
            with pytest.raises(VerifierUnreachable, match="nobody there") as refused:
                captioner._pipeline().links.first.session(5)  # type: ignore[union-attr]
            raised.append(refused.value)
    assert raised[0] is not raised[1]
