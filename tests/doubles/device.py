"""A second of speech, and a verifier whose every answer a test can choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.errors import ChannelError
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ServerChannel
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
    Block,
    Cover,
    Refusal,
    Verdict,
    Welcome,
    decode_device_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import VerifierUnreachable
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.speech import recorded_speech

Answer = Callable[[Block], Verdict | Refusal | Cover | Welcome | bytes | None]
CoverAnswer = Callable[[Cover], Cover | Verdict | bytes | None]


def accept(block: Block, **changes: Any) -> Verdict:
    """Return a verdict that accepts the block, except for the ``changes``."""
    given: dict[str, Any] = {
        "caption": block.caption,
        "start": block.start,
        "accepted": len(block.tokens),
        "correction": None,
        "continuation": (),
    }
    return Verdict(**(given | changes))


def welcome_for(drafter: ScriptedDrafter) -> Welcome:
    """Return the welcome of a verifier that fits the drafter."""
    info = drafter.info
    return Welcome(
        version=WIRE_VERSION,
        vocabulary=info.vocabulary,
        projections=(info.projection,),
        state_dim=info.state_dim,
        max_tokens=info.max_tokens,
    )


class FakeVerifier:
    """A verifier in memory: real handshake and frames, answers by ``answer``.

    ``answer`` returns a message, raw bytes to send unchanged, or ``None`` for silence.
    """

    def __init__(self, key: VerifierKey, drafter: ScriptedDrafter) -> None:
        self.key = key
        self.answer: Answer = accept
        self.welcome = welcome_for(drafter)
        self.answer_to_cover: CoverAnswer = lambda cover: cover
        self.blocks: list[Block] = []
        self.covers = 0
        self.frames: list[bytes] = []
        self.connections = 0

    def transport(self) -> MemoryTransport:
        self.connections += 1
        channel, greeted = ServerChannel(self.key), False

        def peer(data: bytes) -> bytes | None:
            nonlocal greeted
            self.frames.append(data)
            try:
                if not greeted:
                    greeted = True
                    return channel.receive_hello(data, encode(self.welcome))
            except ChannelError:  # the real one closes the websocket with this code
                raise VerifierUnreachable("closed", close_code=1008) from None
            try:
                message = decode_device_message(channel.open(data))
            except ChannelError:
                return b""
            answer: Verdict | Refusal | Cover | Welcome | bytes | None
            if isinstance(message, Cover):
                self.covers += 1
                answer = self.answer_to_cover(message)
            else:
                self.blocks.append(message)
                answer = self.answer(message)
            if answer is None or isinstance(answer, bytes):
                return answer
            return channel.seal(encode(answer), TrafficShape.of(data))

        return MemoryTransport(peer)


@pytest.fixture
def voice() -> NDArray[np.float32]:
    """(16000,) float32: one second of speech at 16 kHz."""
    return recorded_speech(1.0)


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """A drafter of a caption with 24 tokens, which are five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400)


@pytest.fixture(scope="session")
def verifier_key() -> VerifierKey:
    return VerifierKey.generate()


@pytest.fixture
def fake(verifier_key: VerifierKey, drafter: ScriptedDrafter) -> FakeVerifier:
    return FakeVerifier(verifier_key, drafter)


@pytest.fixture
def new_captioner(
    fake: FakeVerifier, drafter: ScriptedDrafter, tmp_path: Path
) -> Callable[..., Captioner]:
    """Make a captioner that escalates everything to the fake; arguments override the defaults."""

    def new(**changes: object) -> Captioner:
        given: dict[str, object] = {
            "verifier": fake.transport,
            "verifier_key": fake.key.public.to_text(),
            "home": tmp_path / "home",
            "policy": AlwaysEscalate(),
        }
        return Captioner(drafter, **(given | changes))  # type: ignore[arg-type]

    return new


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("UGSD_"):
            monkeypatch.delenv(name)
    assert Settings().verifier.url is None


@pytest.fixture(autouse=True)
def _no_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays before connecting again are as long as they may be: a drawn one may be nearly 0."""
    from ugsd_sdk.connection.circuit import Circuit

    monkeypatch.setitem(Circuit.__init__.__kwdefaults__, "jitter", lambda: 0.99)
