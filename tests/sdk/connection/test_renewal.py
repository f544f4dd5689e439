"""Old sessions are replaced by a new handshake, without effect on captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.protocol import channel as channel_module
from ugsd_privacy.protocol.channel import HELLO_BYTES
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection import session as session_module
from ugsd_sdk.connection import verifier_connection as link_module
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import VerifierUnreachable
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
BLOCKS = 5
"""Blocks of each caption of the scripted drafter."""


class Clock:
    """``monotonic`` for the connection, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._real = link_module.monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (link_module, session_module):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


def link_of(captioner: Captioner) -> VerifierConnection:
    link = captioner._pipeline().links.first
    assert link is not None
    return link


def hellos(fake: Any) -> list[bytes]:
    return [frame for frame in fake.frames if len(frame) == HELLO_BYTES]


def test_session_is_renewed_with_new_secrets_after_hour(
    new_captioner: New, fake: Any, voice: Voice, clock: Clock
) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        old = link_of(captioner).session(1.0)
        clock.ahead_s = 3590.0
        assert captioner.caption(voice, 16_000).unverified_reason is None
        assert fake.connections == 1, "a session younger than an hour remains"
        clock.ahead_s = 3610.0
        renewed = captioner.caption(voice, 16_000)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert renewed.unverified_reason is None
    assert fake.connections == 2, "the renewed session remains, too"
    assert len(fake.blocks) == 3 * BLOCKS
    info = channel_module._HELLO_INFO
    first, second = (
        channel_module._SUITE.decrypt(hello[2:], fake.key.hpke, info=info) for hello in hellos(fake)
    )
    assert first[:32] != second[:32]
    assert first[32:] != second[32:], "the verifier encrypts its secret to a new ephemeral key"
    assert old.channel.frames_remaining == 0, "no key of the old session remains"


def test_no_session_is_replaced_during_a_caption(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link_of(captioner)._session_lifetime_s = 0.0  # the session is too old at every block
        for made in (1, 2, 3):
            caption = captioner.caption(voice, 16_000)
            assert caption.unverified_reason is None
            assert caption.usage.num_blocks == BLOCKS
            assert fake.connections == 1 + made, "one new session for each caption"
            assert {block.caption for block in fake.blocks[-BLOCKS:]} == {0}


def test_failed_renewal_does_not_restore_old_session(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    down = False

    def reachable_or_not() -> MemoryTransport:
        if down:
            raise VerifierUnreachable("nobody there")
        transport: MemoryTransport = fake.transport()
        return transport

    with new_captioner(verifier=reachable_or_not) as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        link._session_lifetime_s, link._first_back_off_s = 0.0, 60.0
        link._jitter = lambda: 0.99
        down = True
        blocks = len(fake.blocks)
        for _ in range(2):
            caption = captioner.caption(voice, 16_000)
            assert caption.text
            assert why_of(caption.unverified_reason) == "verifier_unreachable"
            assert caption.usage.num_frames == 0
        assert len(fake.blocks) == blocks
        down = False
        assert captioner.caption(voice, 16_000).unverified_reason is not None, (
            "it backs off as usual"
        )
        captioner.wait_until_connected()
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_session_low_on_frames_is_replaced_before_caption(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_MAX_FRAMES", MAX_CAPTION_TOKENS + BLOCKS + 1)
    with new_captioner() as captioner:
        connections = []
        for _ in range(4):
            assert captioner.caption(voice, 16_000).unverified_reason is None
            connections.append(fake.connections)
    assert connections == [1, 1, 2, 2]


def test_session_lifetime_is_one_hour_by_default(new_captioner: New) -> None:
    with new_captioner() as captioner:
        link = link_of(captioner)
        assert link._session_lifetime_s == 3600.0
        other = VerifierConnection(
            link._endpoint,
            link._user_egress,
            link._drafter,
            connect_timeout_s=1.0,
            session_lifetime_s=5.0,
        )
        assert other._session_lifetime_s == 5.0
