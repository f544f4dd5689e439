"""When a captioner looks for an answer, and what it does with the time that answers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.egress import SealedFrame
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    GainPolicy,
    KeepLocal,
    NeverEscalate,
    Policy,
)
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter, ScriptedSession
from ugsd_sdk.errors import ConfigError, VerifierTimeout
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport import Transport

from tests.doubles.device import FakeVerifier
from tests.doubles.slot_drafter import SlotDrafter
from tests.sdk.verdicts import verdict_on

Voice = NDArray[np.float32]
_LONG_S = 600.0
_STEP_S = 0.4


class _Clock:
    """A clock of seconds that moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        for module in (
            "pipeline",
            "driver",
            "calls.call",
            "connection.exchange",
            "concurrency.waiting",
        ):
            monkeypatch.setattr(f"ugsd_sdk.{module}.monotonic", lambda: self.now_s)
        defaults = Decoder.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "clock", lambda: self.now_s)


class _SlowSession(ScriptedSession):
    clock: _Clock

    def append(self, tokens: list[int]) -> None:  # type: ignore[override]
        super().append(tokens)
        self.clock.now_s += _STEP_S


class _SlowDrafter(ScriptedDrafter):
    """Takes ``_STEP_S`` for each token."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__(seed=5, vocabulary_size=400, max_tokens=24)
        self._clock = clock
        self.sessions: list[ScriptedSession] = []

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> ScriptedSession:
        session = _SlowSession(self, clip)
        session.clock = self._clock
        self.sessions.append(session)
        return session


class _SlowTransport:
    """An answer comes ``answer_s`` after its question."""

    def __init__(self, inner: Transport, clock: _Clock, answer_s: float) -> None:
        self._inner, self._clock, self._answer_s = inner, clock, answer_s
        self._due_s = 0.0
        self.connect, self.close = inner.connect, inner.close
        self._sent = 0

    def send(self, frame: SealedFrame) -> None:
        self._inner.send(frame)
        self._sent += 1
        self._due_s = self._clock.now_s + (self._answer_s if self._sent > 1 else 0)

    def receive(self, timeout_s: float) -> bytes:
        if not self._sent or self._clock.now_s + timeout_s < self._due_s:
            self._clock.now_s += timeout_s
            raise VerifierTimeout("nothing yet: try again")
        self._clock.now_s = max(self._clock.now_s, self._due_s)
        return self._inner.receive(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    return _Clock(monkeypatch)


@pytest.fixture
def slow(clock: _Clock, fake: FakeVerifier, tmp_path: Path) -> Iterator[Callable[..., Captioner]]:
    """Make captioners of a slow device whose answers take ``answer_s``."""
    made: list[Captioner] = []

    def new(answer_s: float, policy: Policy, *, deadline_s: float, **verifier: float) -> Captioner:
        drafter = _SlowDrafter(clock)
        captioner = Captioner(
            drafter,
            verifier=lambda: _SlowTransport(fake.transport(), clock, answer_s),
            verifier_key=fake.key.public.to_text(),
            policy=policy,
            config=Settings(
                home=tmp_path / "home",
                min_enrolment=0,
                verifier=VerifierSettings(
                    deadline_s=deadline_s, caption_deadline_s=deadline_s, **verifier
                ),
            ),
        )
        captioner.drafter = drafter  # type: ignore[attr-defined]
        made.append(captioner)
        captioner.load()
        captioner.wait_until_connected()
        return captioner

    yield new
    for captioner in made:
        captioner.close()


def test_drafting_ends_when_answer_is_there(
    slow: Callable[..., Captioner], voice: Voice, fake: FakeVerifier
) -> None:
    captioner = slow(answer_s=3 * _STEP_S, policy=AlwaysEscalate(), deadline_s=_LONG_S)
    caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    session = captioner.drafter.sessions[0]  # type: ignore[attr-defined]
    assert len(fake.blocks) > 1
    assert session.steps == 1 + len(session.tokens), "no token was drafted twice"
    last_s = 3 * _STEP_S
    assert caption.latency_ms.wait == pytest.approx(1000 * last_s), (
        "drafting hid every answer but the last"
    )


def test_question_without_time_left_is_kept(
    slow: Callable[..., Captioner], voice: Voice, fake: FakeVerifier
) -> None:
    """The first answer uses up most of the time that the caption may wait."""
    captioner = slow(answer_s=20.0, policy=AlwaysEscalate(), deadline_s=25.0)
    caption = captioner.caption(voice, 16_000)
    assert caption.usage.num_blocks == len(fake.blocks) == 1
    assert [block.outcome for block in caption.decisions[:2]] == [Outcome.SENT, Outcome.LOCAL]
    assert caption.unverified_reason is not None
    assert caption.unverified_reason.code is ReasonCode.ANSWER_TOO_LATE
    assert "the answer would come too late: 20 s are expected" in str(caption.unverified_reason)


def test_slow_device_hands_over_to_the_verifier(
    slow: Callable[..., Captioner], voice: Voice, fake: FakeVerifier
) -> None:
    """The first caption measures the pace; the second one sends its first token, and gets all
    others."""
    fake.answer = lambda block: verdict_on(block, continuation=(*range(7, 17), EOS))
    captioner = slow(answer_s=0.5, policy=NeverEscalate(), deadline_s=_LONG_S, min_saving_s=1.0)
    captioner.caption(voice, 16_000)
    fake.blocks.clear()
    caption = captioner.caption(voice, 16_000)
    assert [len(block.tokens) for block in fake.blocks] == [1]
    assert caption.decisions[0].reason.code is ReasonCode.SAVES_TIME
    assert caption.latency_ms.total == pytest.approx(1000 * (0.5 + 2 * _STEP_S))


def test_verifier_without_continuation_gets_no_captions(
    slow: Callable[..., Captioner], voice: Voice, fake: FakeVerifier
) -> None:
    captioner = slow(answer_s=0.5, policy=NeverEscalate(), deadline_s=_LONG_S, min_saving_s=1.0)
    for _ in range(2):
        captioner.caption(voice, 16_000)
    assert len(fake.blocks) == 1


def test_saving_time_needs_a_verifier_that_ends_captions(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, verifier=VerifierSettings(min_saving_s=1))
    with pytest.raises(ConfigError, match="state what the device measured"):
        Captioner(SlotDrafter(), config=settings).load()


def test_min_gain_needs_a_drafter_that_predicts_it(tmp_path: Path) -> None:
    for drafter, unit in ((SlotDrafter(), "slot"), ("starter", "tokens")):
        settings = Settings(home=tmp_path, min_gain=0.1, block_unit=unit)
        with pytest.raises(ConfigError, match="no gain is predicted"):
            Captioner(drafter, config=settings).load()  # type: ignore[arg-type]
    Captioner("starter", config=Settings(home=tmp_path, min_gain=0.1)).load()


def test_busy_device_does_not_take_the_verifier_for_slow(
    slow: Callable[..., Captioner], voice: Voice, fake: FakeVerifier, clock: _Clock
) -> None:
    """One token takes half a minute, as when a container's quota is used up; answers take 50 ms."""
    captioner = slow(answer_s=0.05, policy=AlwaysEscalate(), deadline_s=2.0)
    captioner.caption(voice, 16_000)
    steps, append = 0, _SlowSession.append

    def starved(session: _SlowSession, tokens: list[int]) -> None:
        nonlocal steps
        steps += 1
        append(session, tokens)
        clock.now_s += 30.0 * (steps == 6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_SlowSession, "append", starved)
        captioner.caption(voice, 16_000)
    fake.blocks.clear()
    caption = captioner.caption(voice, 16_000)
    assert fake.blocks
    assert caption.unverified_reason is None


def test_without_a_state_no_gain_is_expected() -> None:
    block = BlockView(0, (1,), (0.9,), verifier_has_summary=False, gain=0.4)
    without_state = GainPolicy(NeverEscalate(), disclosure=Disclosure.TOKENS)
    assert isinstance(without_state(block, BudgetView()), KeepLocal)
    assert isinstance(GainPolicy(NeverEscalate())(block, BudgetView()), Escalate)
