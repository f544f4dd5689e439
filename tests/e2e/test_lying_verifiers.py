"""A lying verifier changes the emotion that was asked about and nothing else: any other verdict is
refused, and the draft kept and marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import AskedSlot, Block, ContinueTo, Verdict, encode
from ugsd_sdk.attributes.attribute import DecidedBy
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.settings.verification import BlockUnit

from tests.doubles.device import accept
from tests.doubles.faults import answers_late, then, then_answers
from tests.doubles.faulty_verifier import FaultyVerifier, Peer, honest
from tests.doubles.reasons import why_of
from tests.doubles.slot_drafter import (
    ANGRY,
    DOWNCAST,
    DRAFT,
    EOS,
    FAST,
    LOUDLY,
    PIECES,
    QUESTION,
    SAD,
    SOUNDS,
    STOP,
    VERY,
    SlotDrafter,
)

DEADLINE_S, SHORT_S = 5.0, 0.3
"""Of a block: longer than a busy machine takes, and shorter than a late verdict."""
BY_TOKENS = {"block_unit": BlockUnit.TOKENS}
MISBEHAVED = "verifier_misbehaved"


@pytest.fixture
def new_captioner(tmp_path: Path, voice: Any) -> Iterator[Callable[..., Captioner]]:
    """Make a captioner of a drafter with slots that asks ``behave`` about every clip."""
    key, drafter = VerifierKey.generate(), SlotDrafter()
    with ExitStack() as stack:

        def new(
            behave: Callable[[Peer], None], deadline_s: float = DEADLINE_S, **settings: Any
        ) -> Captioner:
            faulty = stack.enter_context(FaultyVerifier(behave, key, drafter))
            waits = VerifierSettings(deadline_s=deadline_s, caption_deadline_s=deadline_s)
            captioner = Captioner(
                drafter,
                verifier=f"ws://127.0.0.1:{faulty.port}",
                verifier_key=key.public.to_text(),
                home=tmp_path / "home",
                policy=AlwaysEscalate(),
                config=Settings(verifier=waits, **settings),
            )
            stack.enter_context(captioner)
            captioner.wait_until_connected(5)
            return captioner

        yield new


def assert_draft_is_kept(caption: Caption, reason: str) -> None:
    assert why_of(caption.unverified_reason) == reason
    assert caption.text == DRAFT
    assert {token.source for token in caption.tokens} == {TokenSource.DRAFTED}
    emotion = caption.attributes.emotion
    assert (emotion.value, emotion.decided_by) == ("sad", DecidedBy.DEVICE)


def assert_draft_is_kept_and_marked(caption: Caption, reason: str) -> None:
    assert_draft_is_kept(caption, reason)
    assert [token.disclosed for token in caption.tokens] == [True] * 4 + [False] * 3
    assert caption.usage.num_blocks == len(caption.receipts) == 1
    assert caption.decisions[0].reason.failure is not None


def judged(accepted: int, correction: int | None, *continuation: int) -> Callable[[Peer], None]:
    return then_answers(
        lambda block: accept(
            block, accepted=accepted, correction=correction, continuation=continuation
        )
    )


LIES: dict[str, tuple[dict[str, Any], Callable[[Peer], None]]] = {
    "another slot's words": ({}, judged(3, LOUDLY)),
    "another slot's words after its own": (BY_TOKENS, judged(3, ANGRY, FAST)),
    "another slot's words after an acceptance": (BY_TOKENS, judged(4, None, LOUDLY)),
    "past the clause, by tokens": (BY_TOKENS, judged(3, ANGRY, LOUDLY, FAST)),
    "past the clause, to the full stop": (BY_TOKENS, judged(3, ANGRY, STOP)),
    "the end of the caption": ({}, judged(3, EOS)),
    "going on unasked": ({}, judged(3, ANGRY, EOS)),
    "going on unasked after an acceptance": ({}, judged(4, None, VERY)),
    "wording, which was not asked": ({}, judged(1, SOUNDS)),
    "an emotion in place of wording": ({}, judged(0, ANGRY)),
    "wording in place of the emotion": ({}, judged(3, VERY)),
    "a synonym of what was sent": ({}, judged(3, DOWNCAST)),
    "two emotions": (BY_TOKENS, judged(4, None, ANGRY)),
    "no emotion, by tokens": (BY_TOKENS, judged(3, VERY, EOS)),
    "another vocabulary": ({}, judged(3, len(PIECES))),
    "another vocabulary after its own": (BY_TOKENS, judged(3, ANGRY, 2**20 - 1)),
    "nothing accepted and nothing corrected": ({}, judged(0, None)),
    "an empty message": ({}, then_answers(lambda block: b"")),
    "a verdict without fields": ({}, then_answers(lambda block: b"\x81\x02")),
    "more than was sent": ({}, judged(5, None)),
    "another block's verdict": ({}, then_answers(lambda block: accept(block, start=4))),
    "another caption's verdict": (
        {}, then_answers(lambda block: accept(block, caption=block.caption + 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_verdict_beyond_question_keeps_draft(
    new_captioner: Callable[..., Captioner], voice: Any, lie: str
) -> None:
    settings, behave = LIES[lie]
    caption = new_captioner(behave, **settings).caption(voice, 16_000)
    assert_draft_is_kept_and_marked(caption, MISBEHAVED)


@pytest.mark.parametrize(
    "behave", [answers_late, then(lambda peer, block: None)], ids=["late", "never"]
)
def test_late_verdict_keeps_draft(
    new_captioner: Callable[..., Captioner], voice: Any, behave: Callable[[Peer], None]
) -> None:
    caption = new_captioner(behave, SHORT_S).caption(voice, 16_000)
    assert_draft_is_kept_and_marked(caption, "deadline")


def test_second_verdict_does_not_change_next_caption(
    new_captioner: Callable[..., Captioner], voice: Any
) -> None:
    def answers_twice(peer: Peer) -> None:
        peer.greet()
        block = peer.block()
        peer.answer(accept(block))
        peer.answer(accept(block, accepted=3, correction=ANGRY))
        peer.wait()

    captioner = new_captioner(answers_twice)
    first, second = (captioner.caption(voice, 16_000) for _ in range(2))
    assert (first.text, first.unverified_reason) == (DRAFT, None)
    assert_draft_is_kept(second, MISBEHAVED)


def test_lie_about_the_question_changes_emotion_alone(
    new_captioner: Callable[..., Captioner], voice: Any
) -> None:
    caption = new_captioner(judged(3, ANGRY)).caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert caption.text == DRAFT.replace("sad", "angry")
    changed = [token for token in caption.tokens if token.source is not TokenSource.DRAFTED]
    assert [token.source for token in changed] == [TokenSource.CORRECTED]
    assert changed[-1].replaced == " sad"
    emotion = caption.attributes.emotion
    assert (emotion.value, emotion.decided_by) == ("angry", DecidedBy.VERIFIER)


def test_question_holds_the_clause_and_one_state(
    new_captioner: Callable[..., Captioner], voice: Any
) -> None:
    blocks: list[Block] = []

    def listens(block: Block) -> Verdict:
        blocks.append(block)
        return accept(block)

    caption = new_captioner(then_answers(listens)).caption(voice, 16_000)
    (block,) = blocks
    assert (block.tokens, block.state_positions) == (QUESTION, (0,))
    assert (block.slot, block.continue_to) == (AskedSlot.EMOTION, ContinueTo.NOTHING)
    assert caption.usage.num_disclosed_tokens == len(QUESTION)
    assert SAD in block.tokens


@pytest.mark.parametrize("place", [0, 1, 2])
def test_device_names_its_projection_by_index(
    new_captioner: Callable[..., Captioner], voice: Any, place: int
) -> None:
    blocks: list[Block] = []

    def reads_three_projections(peer: Peer) -> None:
        (own,) = peer.welcome.projections
        others = [bytes([number]) * 32 for number in (1, 2)]
        listed = (*others[:place], own, *others[place:])
        peer.upgrade()
        welcome = peer.welcome.model_copy(update={"projections": listed})
        peer.send_frame(peer.channel.receive_hello(peer.frame(), encode(welcome)))
        blocks.append(peer.block())
        peer.answer(accept(blocks[-1]))
        peer.wait()

    caption = new_captioner(reads_three_projections).caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert [block.projection for block in blocks] == [place]


def test_honest_verifier_leaves_no_mark(
    new_captioner: Callable[..., Captioner], voice: Any
) -> None:
    captions = [new_captioner(honest, **unit).caption(voice, 16_000) for unit in ({}, BY_TOKENS)]
    assert [caption.unverified_reason for caption in captions] == [None, None]
    assert {caption.text for caption in captions} == {DRAFT}
