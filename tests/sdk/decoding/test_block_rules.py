"""A drafter with slots: a verifier decides the emotion that was asked about, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo, Disclosure, Verdict
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished, Outcome, TokenSource
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    NeverEscalate,
    Policy,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.errors import ConfigError, ModelError, VerifierMisbehaved
from ugsd_sdk.settings.verification import BlockUnit, Continuation, Verification

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
    THE,
    VERY,
    VOICE,
    SlotDrafter,
    SlotSession,
    slot_table,
)

_FIRST = Slot.EMOTION
CORRECTED = "The voice sounds angry, loudly and fast."


def decoder_of(policy: Policy, **rules: Any) -> Decoder:
    return Decoder(
        SlotSession, eos=EOS, max_tokens=20, ood_score=1.0, uncertainty=EntropyUncertainty(),
        policy=policy, piece=SlotDrafter().piece,
        rules=BlockRules(slot_table(), **rules),
    )  # fmt: skip


def asked(policy: Policy | None = None, **rules: Any) -> tuple[Decoder, Escalation]:
    decoder = decoder_of(policy or AlwaysEscalate(Disclosure.SUMMARY), **rules)
    event = decoder.advance()
    assert isinstance(event, EscalationRequested)
    return decoder, event.escalation


def verdict(accepted: int, correction: int | None, *continuation: int) -> Verdict:
    return Verdict(
        caption=1, start=0, accepted=accepted, correction=correction,
        continuation=continuation,
    )  # fmt: skip


def finish(decoder: Decoder) -> Finished:
    event = decoder.advance()
    assert isinstance(event, Finished)
    return event


def text(finished: Finished) -> str:
    return "".join(PIECES[token.token] for token in finished.tokens)


BOTH = pytest.mark.parametrize("block_unit", BlockUnit)
BY_TOKENS = {"block_unit": BlockUnit.TOKENS}


@BOTH
def test_only_the_emotion_is_sent(block_unit: BlockUnit) -> None:
    _, sent = asked(block_unit=block_unit)
    assert sent.tokens == QUESTION


def test_policy_cannot_cut_a_question() -> None:
    def first_word(block: BlockView, budget: BudgetView) -> Escalate:
        return Escalate(Disclosure.SUMMARY, tokens=1)

    assert asked(first_word)[1].tokens == QUESTION
    assert asked(first_word, block_unit=BlockUnit.TOKENS)[1].tokens == QUESTION[:1]


def test_question_names_slot_and_continuation() -> None:
    _, by_slot = asked()
    assert (by_slot.slot, by_slot.continue_to) == (AskedSlot.EMOTION, ContinueTo.NOTHING)
    _, by_tokens = asked(block_unit=BlockUnit.TOKENS)
    assert (by_tokens.slot, by_tokens.continue_to) == (AskedSlot.ANY_TOKEN, ContinueTo.CLAUSE)


def test_question_is_sent_whole_at_any_threshold() -> None:
    """The words before the emotion have no uncertainty, which a threshold of 0 reaches."""
    for threshold in (0.0, 1e-9):
        event = decoder_of(UncertaintyPolicy(threshold)).advance()
        assert isinstance(event, EscalationRequested)
        assert event.escalation.tokens == QUESTION


def test_only_tokens_that_are_judged_have_uncertainties() -> None:
    tokens = finish(decoder_of(NeverEscalate())).tokens
    assert [token.token for token in tokens if token.uncertainty is not None] == [SAD]
    tokens = finish(decoder_of(NeverEscalate(), block_unit=BlockUnit.TOKENS)).tokens
    assert [token.uncertainty is not None for token in tokens] == [True] * 4 + [False] * 4


@BOTH
def test_measured_clauses_are_one_local_block(block_unit: BlockUnit) -> None:
    finished = finish(decoder_of(NeverEscalate(), block_unit=block_unit))
    emotion, measured = finished.blocks
    assert (emotion.start, emotion.num_tokens) == (0, 4)
    assert (measured.start, measured.num_tokens) == (4, 4)
    assert measured.outcome is Outcome.LOCAL
    assert measured.reason.code is ReasonCode.MEASURED
    assert text(finished) == DRAFT


@pytest.mark.parametrize(
    ("rules", "written"),
    [({}, ()), (BY_TOKENS, (EOS,))],
)
def test_corrected_emotion_keeps_measured_clauses(
    rules: dict[str, Any], written: tuple[int, ...]
) -> None:
    decoder, _ = asked(**rules)
    decoder.receive_verdict(verdict(3, ANGRY, *written))
    finished = finish(decoder)
    assert text(finished) == CORRECTED
    assert [token.source for token in finished.tokens[3:5]] == [
        TokenSource.CORRECTED, TokenSource.DRAFTED,
    ]  # fmt: skip
    assert finished.tokens[3].replaced == (SAD,)
    assert finished.counts.num_blocks == 1


@pytest.mark.parametrize("given_verdict", [verdict(4, None), verdict(3, ANGRY)])
def test_answered_slot_is_not_asked_again(given_verdict: Verdict) -> None:
    decoder, _ = asked()
    decoder.receive_verdict(given_verdict)
    assert finish(decoder).counts.num_blocks == 1


WRONG: dict[str, tuple[dict[str, Any], Verdict, str]] = {
    "another slot's words in place of the emotion": ({}, verdict(3, LOUDLY), "slot"),
    "another slot's words after it": (BY_TOKENS, verdict(3, ANGRY, FAST), "slot"),
    "another slot's words after an acceptance": (BY_TOKENS, verdict(4, None, LOUDLY), "slot"),
    "the full stop": (BY_TOKENS, verdict(3, ANGRY, STOP), "slot"),
    "past the clause, by tokens": (
        {"block_unit": BlockUnit.TOKENS}, verdict(3, ANGRY, LOUDLY, FAST), "slot",
    ),
    "going on unasked": ({}, verdict(3, ANGRY, VERY), "not asked"),
    "ending unasked": ({}, verdict(4, None, EOS), "not asked"),
    "other wording": ({}, verdict(1, SOUNDS), "do not state"),
    "the emotion in place of wording": ({}, verdict(1, ANGRY), "do not state"),
    "wording in place of the emotion": ({}, verdict(3, VERY), "do not state"),
    "an end in place of the emotion": ({}, verdict(3, EOS), "do not state"),
    "a synonym of what was sent": ({}, verdict(3, DOWNCAST), "to itself"),
    "two emotions": (BY_TOKENS, verdict(4, None, ANGRY), "or several"),
    "two emotions, by tokens": (
        {"block_unit": BlockUnit.TOKENS}, verdict(2, SAD, ANGRY, EOS), "or several",
    ),
    "no emotion, by tokens": (BY_TOKENS, verdict(1, SOUNDS, EOS), "names no"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_verdict_beyond_the_question_is_refused(fault: str) -> None:
    rules, wrong, message = WRONG[fault]
    decoder, _ = asked(**rules)
    with pytest.raises(VerifierMisbehaved, match=message):
        decoder.receive_verdict(wrong)
    decoder.verdict_missed()
    finished = finish(decoder)
    assert text(finished) == DRAFT
    assert [token.source for token in finished.tokens] == [TokenSource.DRAFTED] * 8
    assert [token.disclosed for token in finished.tokens] == [True] * 4 + [False] * 4


@settings(deadline=None)
@given(
    st.integers(0, 5),
    st.none() | st.integers(0, len(PIECES)),
    st.lists(st.integers(0, len(PIECES)), max_size=3),
)
def test_any_verdict_changes_the_emotion_alone(
    accepted: int, correction: int | None, continuation: list[int]
) -> None:
    decoder, _ = asked()
    try:
        decoder.receive_verdict(verdict(accepted, correction, *continuation))
    except VerifierMisbehaved:
        decoder.verdict_missed()
    finished = finish(decoder)
    table = slot_table()
    ours = [token.token for token in finished.tokens if table.slots[token.token] is not _FIRST]
    assert ours == [LOUDLY, FAST, STOP, EOS]
    assert len(table.emotions_in(token.token for token in finished.tokens)) == 1
    assert text(finished).startswith("The voice sounds")


def test_clause_that_verifier_would_end_goes_on() -> None:
    decoder, _ = asked(block_unit=BlockUnit.TOKENS)
    decoder.receive_verdict(verdict(2, EOS))
    finished = finish(decoder)
    assert text(finished) == DRAFT
    assert [token.disclosed for token in finished.tokens] == [True] * 4 + [False] * 4


def test_unfinished_clause_needs_no_emotion_yet() -> None:
    decoder, _ = asked(block_unit=BlockUnit.TOKENS)
    decoder.receive_verdict(verdict(3, VERY))
    assert isinstance(decoder.advance(), EscalationRequested)
    decoder.escalation_blocked()
    assert text(finish(decoder)) == "The voice sounds very sad, loudly and fast."


def test_only_the_words_of_the_emotion_are_verified() -> None:
    decoder, _ = asked()
    decoder.receive_verdict(verdict(4, None))
    sources = [token.source for token in finish(decoder).tokens]
    assert sources == [TokenSource.DRAFTED] * 3 + [TokenSource.VERIFIED] + [TokenSource.DRAFTED] * 4


@BOTH
def test_nothing_is_verified_without_a_state(block_unit: BlockUnit) -> None:
    decoder, _ = asked(AlwaysEscalate(Disclosure.TOKENS), block_unit=block_unit)
    decoder.receive_verdict(verdict(4, None))
    tokens = finish(decoder).tokens
    assert {token.source for token in tokens} == {TokenSource.DRAFTED}
    assert [token.disclosed for token in tokens] == [True] * 4 + [False] * 4


def test_threshold_of_zero_gives_the_number_that_decided() -> None:
    decoder = decoder_of(UncertaintyPolicy(0.0))
    assert isinstance(decoder.advance(), EscalationRequested)
    decoder.receive_verdict(verdict(4, None))
    block = finish(decoder).blocks[0]
    assert block.reason.value == block.uncertainty > 0


@pytest.mark.parametrize("rules", [{"has_noise": True}, {}])
def test_acceptance_says_something_only_without_noise(rules: dict[str, Any]) -> None:
    decoder, _ = asked(**rules)
    decoder.receive_verdict(verdict(4, None))
    finished = finish(decoder)
    source = TokenSource.DRAFTED if rules else TokenSource.VERIFIED
    assert finished.tokens[3].source is source
    failure = finished.blocks[0].reason.failure
    assert (failure and failure.code) == (ReasonCode.NOT_JUDGED if rules else None)


def test_drawn_value_is_judged_with_noise_too() -> None:
    decoder, sent = asked(
        AlwaysEscalate(Disclosure.DISTRIBUTIONS),
        has_noise=True,
        verification=Verification.SPECULATIVE,
    )
    decoder.receive_verdict(verdict(len(sent.tokens), None))
    finished = finish(decoder)
    assert finished.blocks[0].reason.failure is None
    assert TokenSource.VERIFIED in {token.source for token in finished.tokens}


def test_correction_from_a_noised_state_is_the_verifiers() -> None:
    decoder, _ = asked(has_noise=True)
    decoder.receive_verdict(verdict(3, ANGRY))
    finished = finish(decoder)
    assert text(finished) == CORRECTED
    assert finished.blocks[0].reason.failure is None


def test_correction_without_a_state_is_refused() -> None:
    decoder, _ = asked(AlwaysEscalate(Disclosure.TOKENS))
    with pytest.raises(VerifierMisbehaved, match="no state"):
        decoder.receive_verdict(verdict(3, ANGRY))
    decoder.verdict_missed()
    assert text(finish(decoder)) == DRAFT


def test_uncertainty_that_is_not_a_number_is_refused() -> None:
    decoder = Decoder(
        SlotSession, eos=EOS, max_tokens=20, ood_score=1.0, policy=AlwaysEscalate(),
        uncertainty=lambda *_: float("nan"), piece=SlotDrafter().piece,
    )  # fmt: skip
    with pytest.raises(ModelError, match="not a number"):
        decoder.advance()


CLAUSES: dict[str, Verdict] = {
    "two sentences": verdict(4, None, THE, VOICE, EOS),
    "an endless clause": verdict(3, VERY, *[VERY] * 40),
    "no beginning": verdict(0, SOUNDS, SAD, EOS),
}


@pytest.mark.parametrize("fault", CLAUSES)
def test_clause_that_no_caption_has_is_refused(fault: str) -> None:
    decoder, _ = asked(**BY_TOKENS)
    with pytest.raises(VerifierMisbehaved, match="no caption has"):
        decoder.receive_verdict(CLAUSES[fault])
    decoder.verdict_missed()
    assert text(finish(decoder)) == DRAFT


def test_continuation_beyond_a_slot_is_refused() -> None:
    with pytest.raises(ConfigError, match="continuation = clause"):
        BlockRules(slot_table(), continuation=Continuation.CLAUSE)
    with pytest.raises(ConfigError, match="continuation = caption"):
        BlockRules(slot_table(), continuation=Continuation.CAPTION)
    with pytest.raises(ConfigError, match="no clauses"):
        BlockRules(None, continuation=Continuation.CLAUSE)
    assert BlockRules(None).continue_to is ContinueTo.CAPTION
