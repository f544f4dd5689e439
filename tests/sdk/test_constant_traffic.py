"""Constant shape over a verifier in memory: each caption sends one frame, whatever it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.channel import HELLO_BYTES
from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Disclosure,
    Refusal,
    RefusalCode,
    Verdict,
)
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    EnrolmentGuard,
    Escalate,
    KeepLocal,
    NeverEscalate,
)
from ugsd_sdk.errors import VerifierTimeout
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
NO_CAPS = BudgetLimits.without_caps()


def constant(**changes: Any) -> Settings:
    return Settings(**({"traffic_shape": "constant"} | changes))


def doubting_from(position: int) -> Callable[[BlockView, BudgetView], KeepLocal | Escalate]:
    return lambda block, _: Escalate(Disclosure.SUMMARY) if block.start >= position else KeepLocal()


def verdict(block: Block, **changes: Any) -> Verdict:
    plain = {"accepted": len(block.tokens), "correction": None, "continuation": ()}
    return Verdict(caption=block.caption, start=block.start, **plain | changes)


def refused(block: Block) -> Refusal:
    return Refusal(code=RefusalCode.OVERLOADED)


def corrected(block: Block) -> Verdict:
    return verdict(block, accepted=0, correction=(block.tokens[0] + 1) % 300 + 3)


CASES: dict[str, tuple[dict[str, Any], Any, int, str | None]] = {
    "nothing is doubtful": ({"policy": NeverEscalate()}, None, 0, None),
    "all is doubtful": ({}, None, 1, "constant_shape"),
    "the middle is doubtful": ({"policy": doubting_from(10)}, None, 1, "constant_shape"),
    "the last block is doubtful": ({"policy": doubting_from(20)}, None, 1, None),
    "the block is refused": ({}, refused, 1, "verifier_refused: overloaded"),
    "the block is corrected": ({}, corrected, 1, "constant_shape"),
    "no block is left": (
        {"config": constant(limits=BudgetLimits(blocks_per_day=0))},
        None,
        0,
        "cap_exceeded: blocks_per_day",
    ),
    "no token is left": (
        {"config": constant(limits=BudgetLimits(tokens_per_caption=4))},
        None,
        0,
        "cap_exceeded: tokens_per_caption",
    ),
    "the voice is not known": (
        {"policy": EnrolmentGuard(AlwaysEscalate())},
        None,
        0,
        "not_enrolled",
    ),
    "the caption is too long for the verifier": ({"max_tokens": 3}, None, 0, "beyond_verifier"),
    "the block is too large": (
        {"state_dim": 128, "config": constant(block_tokens=24, limits=NO_CAPS)},
        None,
        0,
        "block_too_large",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_caption_sends_and_receives_one_frame(
    new_captioner: New, fake: Any, drafter: Any, voice: Voice, case: Any
) -> None:
    changes, answer, blocks, reason = case
    changes = {"config": constant()} | changes
    fake.answer = answer or fake.answer
    if "max_tokens" in changes:
        update = {"max_tokens": changes.pop("max_tokens")}
        fake.welcome = fake.welcome.model_copy(update=update)
    if "state_dim" in changes:
        disclose_much(drafter, fake, changes.pop("state_dim"))
        changes["policy"] = AlwaysEscalate(Disclosure.BLOCK_STATES)
    with new_captioner(**changes) as captioner:
        captioner.wait_until_connected()
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
    assert [len(frame) for frame in fake.frames] == [HELLO_BYTES] + [CONSTANT_FRAME_BYTES] * 2
    assert (len(fake.blocks), fake.covers) == (2 * blocks, 2 - 2 * blocks)
    for caption in captions:
        cost = caption.usage
        assert why_of(caption.unverified_reason) == reason
        assert (cost.num_frames, cost.num_blocks, len(caption.receipts)) == (1, blocks, 1)
        assert cost.bytes_sent == cost.bytes_received == CONSTANT_FRAME_BYTES
        if not blocks:
            assert {token.source for token in caption.tokens} == {TokenSource.DRAFTED}
            assert cost.num_disclosed_tokens == cost.num_disclosed_states == 0


def disclose_much(drafter: Any, fake: Any, dim: int) -> None:
    """Have the drafter make states of ``dim`` numbers."""
    start, info = drafter.start, drafter.info

    class Wide:
        def __init__(self, session: Any) -> None:
            self.session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

        def predict(self) -> Any:
            return replace(self.session.predict(), state=np.full(dim, 0.01, np.float32))

    drafter.start = lambda *arguments, **named: Wide(start(*arguments, **named))
    fake.welcome = fake.welcome.model_copy(update={"state_dim": info.state_dim})


def test_frames_are_sent_after_the_whole_draft(
    new_captioner: New, fake: Any, drafter: Any, voice: Voice
) -> None:
    sessions, drafted = [], []
    start = drafter.start

    def remembered(*arguments: Any, **named: Any) -> Any:
        sessions.append(start(*arguments, **named))
        return sessions[-1]

    drafter.start = remembered

    def on_block(block: Block) -> Verdict:
        drafted.append(len(sessions[-1].tokens))
        return verdict(block)

    def on_cover(cover: Cover) -> Cover:
        drafted.append(len(sessions[-1].tokens))
        return cover

    fake.answer, fake.answer_to_cover = on_block, on_cover
    for position in (0, 5, 15, 1000):
        policy = doubting_from(position)
        with new_captioner(config=constant(), policy=policy) as captioner:
            captioner.caption(voice, 16_000)
    assert drafted == [24] * 4
    assert fake.covers == 1


def test_later_blocks_stay_local_with_a_reason(new_captioner: New, fake: Any, voice: Voice) -> None:
    with new_captioner(config=constant()) as captioner:
        caption = captioner.caption(voice, 16_000)
    sources = [token.source for token in caption.tokens]
    assert sources == [TokenSource.VERIFIED] * 5 + [TokenSource.DRAFTED] * (len(sources) - 5)
    assert [token.disclosed for token in caption.tokens] == [True] * 5 + [False] * (
        len(sources) - 5
    )
    assert why_of(caption.unverified_reason) == "constant_shape"


def test_nothing_is_sent_without_a_session(new_captioner: New, voice: Voice) -> None:
    sent: list[bytes] = []

    def deaf() -> MemoryTransport:
        return MemoryTransport(sent.append)

    for policy in (AlwaysEscalate(), NeverEscalate()):
        settings = constant(verifier={"deadline_s": 0.2, "connect_timeout_s": 0.2})
        with new_captioner(verifier=deaf, policy=policy, config=settings) as captioner:
            caption = captioner.caption(voice, 16_000)
        assert caption.usage.num_frames == len(caption.receipts) == 0
    assert {len(data) for data in sent} == {HELLO_BYTES}


def test_exhausted_byte_budget_stops_blocks_and_covers(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    limits = BudgetLimits(bytes_per_day=HELLO_BYTES + CONSTANT_FRAME_BYTES)
    for user, policy in (("ada", AlwaysEscalate()), ("bob", NeverEscalate())):
        settings = constant(user=user, limits=limits)
        with new_captioner(policy=policy, config=settings) as captioner:
            frames = [captioner.caption(voice, 16_000).usage.num_frames for _ in range(3)]
        assert frames == [1, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda cover: b"garbage", id="garbage"),
        pytest.param(lambda cover: b"", id="empty"),
        pytest.param(
            lambda cover: Verdict(caption=0, start=0, accepted=0, correction=None, continuation=()),
            id="verdict",
        ),
    ],
)
def test_wrong_cover_answer_ends_only_the_session(
    new_captioner: New, fake: Any, voice: Voice, answer: Any
) -> None:
    fake.answer_to_cover = answer
    with new_captioner(config=constant(), policy=NeverEscalate()) as captioner:
        first = captioner.caption(voice, 16_000)
        assert (why_of(first.unverified_reason), first.usage.num_frames) == (None, 1)
        assert captioner.caption(voice, 16_000).usage.num_frames == 0, "it backs off"
        fake.answer_to_cover = lambda cover: cover
        captioner.wait_until_connected()
        assert captioner.caption(voice, 16_000).usage.bytes_received == CONSTANT_FRAME_BYTES
    assert fake.connections == 2


def test_cover_frames_are_awaited_like_blocks(new_captioner: New, fake: Any, voice: Voice) -> None:
    fake.answer = fake.answer_to_cover = lambda message: None
    waits: list[float] = []

    class Patient(MemoryTransport):
        def receive(self, timeout_s: float) -> bytes:
            if not self._answers:
                time.sleep(timeout_s)
                waits.append(timeout_s)
            return super().receive(timeout_s)

    waited_s = []
    config = constant(verifier=VerifierSettings(deadline_s=0.5))
    for policy in (AlwaysEscalate(), NeverEscalate()):
        with new_captioner(
            verifier=lambda: Patient(fake.transport()._peer), config=config, policy=policy
        ) as captioner:
            captioner.wait_until_connected()
            waits.clear()
            captioner.caption(voice, 16_000)
            waited_s.append(sum(waits))
    assert waited_s == pytest.approx([0.5, 0.5], abs=0.1), "the deadline of one block"


def test_late_cover_answer_is_dropped(new_captioner: New, fake: Any, voice: Voice) -> None:
    class Late(MemoryTransport):
        late = True

        def receive(self, timeout_s: float) -> bytes:
            if fake.covers and Late.late:
                raise VerifierTimeout("not yet")
            return super().receive(timeout_s)

    doubtful_from = 1000

    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return doubting_from(doubtful_from)(block, budget)

    with new_captioner(
        verifier=lambda: Late(fake.transport()._peer), config=constant(), policy=policy
    ) as captioner:
        captioner.wait_until_connected()
        assert captioner.caption(voice, 16_000).usage.num_frames == 1
        assert captioner.caption(voice, 16_000).usage.num_frames == 0, "an answer is owed"
        Late.late = False
        doubtful_from = 20
        caption = captioner.caption(voice, 16_000)
    assert (why_of(caption.unverified_reason), caption.usage.num_blocks) == (None, 1)
    assert fake.connections == 1


def test_verifier_that_breaks_the_shape_is_disconnected(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrafficShape, "of", staticmethod(lambda frame: TrafficShape.PADDED))
    with new_captioner(config=constant()) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "verifier_misbehaved"
    assert caption.usage.bytes_received < CONSTANT_FRAME_BYTES
