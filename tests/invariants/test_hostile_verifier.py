"""For any answer of a malicious verifier, the device makes its caption and gives the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.fuzz.mutations import damaged
from ugsd_lab.fuzz.targets import hostile_answer
from ugsd_privacy.errors import ChannelError
from ugsd_privacy.protocol.channel import ServerChannel
from ugsd_privacy.protocol.messages import RefusalCode, decode_device_message, encode
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

_ANSWERS = 200
_VERIFIERS_WORDS = {TokenSource.CORRECTED, TokenSource.CONTINUED}
_REASONS = re.compile(
    "circuit_open|verifier_misbehaved|deadline|verifier_unreachable|other_(version|vocabulary|projection)|"
    + "|".join(f"verifier_refused: {code}" for code in RefusalCode)
)


class HostileVerifier:
    """Greets as the fake does, then answers blocks, and sometimes hellos, with hostile messages."""

    def __init__(self, fake: Any, rng: Random) -> None:
        self.fake, self.rng = fake, rng
        self.answers = 0

    def transport(self) -> MemoryTransport:
        channel, greeted = ServerChannel(self.fake.key), False

        def peer(data: bytes) -> bytes | None:
            nonlocal greeted
            if not greeted:
                greeted = True
                return self.greeting(channel, data)
            try:
                decode_device_message(channel.open(data))
            except ChannelError:
                return b""
            self.answers += 1
            return self.answer(channel, TrafficShape.of(data))

        return MemoryTransport(peer)

    def greeting(self, channel: ServerChannel, hello: bytes) -> bytes:
        welcome, way = encode(self.fake.welcome), self.rng.random()
        if way < 0.1:
            self.answers += 1
            welcome = hostile_answer(self.rng)
        answer = channel.receive_hello(hello, welcome)
        if way > 0.95:
            self.answers += 1
            return damaged(self.rng, answer, hello)
        return answer

    def answer(self, channel: ServerChannel, shape: TrafficShape) -> bytes | None:
        """Return a sealed hostile plaintext, a damaged frame, raw bytes, or silence."""
        way = self.rng.random()
        if way < 0.02:
            return None
        if way < 0.05:
            return self.rng.randbytes(self.rng.choice((0, 1, 128, 40_000)))
        plain = hostile_answer(self.rng)
        frame = channel.seal(plain, TrafficShape.PADDED if len(plain) > 900 else shape)
        return damaged(self.rng, frame, plain) if way < 0.15 else frame


@pytest.mark.slow
def test_hundreds_of_hostile_answers_end_in_local_captions(
    new_captioner: Callable[..., Captioner],
    fake: Any,
    drafter: ScriptedDrafter,
    voice: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    with Captioner(drafter) as local:
        own = local.caption(voice, 16_000).text
    hostile, reasons = HostileVerifier(fake, Random(11)), Counter[str]()
    while hostile.answers < _ANSWERS:
        home = tmp_path / f"home {hostile.answers}"  # a new budget
        with new_captioner(verifier=hostile.transport, home=home) as captioner:
            captioner._load()._circuit._first_back_off_s = 0.0
            for _ in range(25):
                caption = captioner.caption(voice, 16_000)
                theirs = {token.source for token in caption.tokens} & _VERIFIERS_WORDS
                assert caption.text == own or theirs, "only words of a sound verdict may replace it"
                why = why_of(caption.unverified_reason)
                assert why is not None
                assert _REASONS.fullmatch(why), why
                reasons[why] += 1
    assert len(reasons) > 4, reasons
