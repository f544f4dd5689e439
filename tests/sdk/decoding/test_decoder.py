"""The decoder's protocol: what is drafted, sent, committed and counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Disclosure, Verdict
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder, DecoderState
from ugsd_sdk.decoding.events import (
    DecodingCounts,
    EscalationRequested,
    Finished,
    TokenSource,
    VerdictAwaited,
)
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    NeverEscalate,
    Policy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter, ScriptedSession
from ugsd_sdk.errors import ModelError, VerifierMisbehaved

from tests.doubles.slot_drafter import SlotSession, slot_table
from tests.sdk.decoding.reference_decoder import CLIP, greedy


def decoder_of(
    drafter: ScriptedDrafter, policy: Policy, *, block_tokens: int = 5
) -> tuple[Decoder, ScriptedSession]:
    session = drafter.start(CLIP)
    decoder = Decoder(
        lambda _: session,
        eos=EOS,
        max_tokens=drafter.info.max_tokens,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=policy,
        piece=drafter.piece,
        rules=BlockRules(block_tokens=block_tokens),
    )
    return decoder, session


def long_drafter() -> ScriptedDrafter:
    """Return a drafter whose own caption has at least 15 tokens."""
    for seed in range(1000):
        drafter = ScriptedDrafter(seed=seed)
        if len(greedy(drafter, [], 24)) >= 15:
            return drafter
    raise AssertionError("no such seed")


def next_escalation(decoder: Decoder) -> Escalation:
    event = decoder.advance()
    assert isinstance(event, EscalationRequested)
    return event.escalation


def accept_all(start: int, block: tuple[int, ...]) -> Verdict:
    return Verdict(caption=0, start=start, accepted=len(block), correction=None, continuation=())


def test_without_escalation_nothing_is_disclosed() -> None:
    decoder, _ = decoder_of(long_drafter(), NeverEscalate())
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert {token.source for token in event.tokens} == {TokenSource.DRAFTED}
    assert not any(token.disclosed for token in event.tokens)
    assert event.counts == DecodingCounts(0, 0, len(event.tokens), 0, 0)


def test_full_acceptance_costs_no_further_model_runs() -> None:
    drafter = long_drafter()
    decoder, session = decoder_of(drafter, AlwaysEscalate())
    first = next_escalation(decoder)
    assert isinstance(decoder.advance(), VerdictAwaited)
    steps = session.steps
    decoder.receive_verdict(accept_all(0, first.tokens))
    second = next_escalation(decoder)
    assert session.steps == steps
    assert (second.keep, second.prefix) == (5, ())


@pytest.mark.parametrize("first_doubtful", [0, 5, 1000])
def test_draft_to_end_completes_the_same_caption(first_doubtful: int) -> None:
    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return Escalate(Disclosure.SUMMARY) if block.start >= first_doubtful else KeepLocal()

    results = []
    for drafts_out in (False, True):
        decoder, session = decoder_of(long_drafter(), policy)
        event = decoder.advance()
        if drafts_out:
            decoder.draft_to_end()
            steps, tokens = session.steps, session.tokens
        sent = []
        while not isinstance(event, Finished):
            if isinstance(event, EscalationRequested):
                sent.append((event.escalation.prefix, event.escalation.tokens))
            else:
                start = event_start(sent)
                decoder.receive_verdict(accept_all(start, sent[-1][1]))
            event = decoder.advance()
        results.append((sent, event))
    assert repr(results[0]) == repr(results[1])
    assert (session.steps, session.tokens) == (steps, tokens), "everything was drafted before"


def event_start(sent: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> int:
    """Return where the last sent block starts if all blocks before it were accepted."""
    *before, (prefix, _) = sent
    return sum(len(p) + len(t) for p, t in before) + len(prefix)


def test_correction_and_continuation_are_appended_in_one_step() -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    first = next_escalation(decoder)
    decoder.advance()
    steps = session.steps
    other = next(t for t in range(1, 12) if t != first.tokens[2])
    decoder.receive_verdict(
        Verdict(caption=0, start=0, accepted=2, correction=other, continuation=(3, 4, 5))
    )
    assert session.steps == steps + 1
    assert list(session.tokens) == [*first.tokens[:2], other, 3, 4, 5]


def test_tokens_of_the_verifier_are_never_sent_back() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    first = next_escalation(decoder)
    other = next(t for t in range(1, 12) if t != first.tokens[0])
    decoder.receive_verdict(
        Verdict(caption=0, start=0, accepted=0, correction=other, continuation=(3,))
    )
    second = next_escalation(decoder)
    assert (second.keep, second.prefix) == (2, ())


def test_committed_prefix_is_sent_once() -> None:
    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return KeepLocal() if block.start in {0, 5} else Escalate(Disclosure.ALL_STATES)

    drafter = long_drafter()
    decoder, _ = decoder_of(drafter, policy)
    sent = next_escalation(decoder)
    assert (sent.keep, len(sent.prefix)) == (0, 10)
    assert sent.state_positions == tuple(range(10 + len(sent.tokens)))
    assert sent.states.shape == (len(sent.state_positions), 4)
    assert sent.states.dtype == np.float32


def test_summary_is_sent_once_per_caption() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate(Disclosure.SUMMARY))
    first = next_escalation(decoder)
    decoder.receive_verdict(accept_all(0, first.tokens))
    second = next_escalation(decoder)
    assert (first.state_positions, second.state_positions) == ((0,), ())
    assert second.states.shape == (0, 4)


def test_decoder_state_follows_the_protocol() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    assert decoder.state is DecoderState.DRAFTING
    next_escalation(decoder)
    decoder.advance()
    assert decoder.state is DecoderState.IN_FLIGHT
    decoder.verdict_missed()
    assert decoder.state is DecoderState.DRAFTING
    decoder.advance()
    assert decoder.state is DecoderState.FINISHED
    with pytest.raises(AssertionError, match="finished"):
        decoder.escalation_blocked()


def test_blocked_escalation_is_not_counted_and_disables_verifier() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    next_escalation(decoder)
    decoder.escalation_blocked()
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert event.counts.num_blocks == event.counts.num_disclosed_tokens == 0
    assert not any(token.disclosed for token in event.tokens)


def test_unanswered_block_counts_as_disclosed() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    next_escalation(decoder)
    decoder.advance()
    decoder.verdict_missed()
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert (event.counts.num_blocks, event.counts.num_disclosed_tokens) == (1, 5)
    assert [token.disclosed for token in event.tokens[:6]] == [True] * 5 + [False]
    assert {token.source for token in event.tokens} == {TokenSource.DRAFTED}


Change = Callable[[tuple[int, ...]], dict[str, object]]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda block: {"start": 1}, id="another block"),
        pytest.param(lambda block: {"accepted": 6}, id="accepts more than was sent"),
        pytest.param(lambda block: {"accepted": 3}, id="correction missing"),
        pytest.param(lambda block: {"correction": 1}, id="correction of an accepted block"),
        pytest.param(
            lambda block: {"accepted": 3, "correction": block[3]}, id="corrects to the same"
        ),
        pytest.param(lambda block: {"continuation": (12,)}, id="out of vocabulary"),
        pytest.param(
            lambda block: {"accepted": 0, "correction": 2**20 - 1},
            id="correction out of vocabulary",
        ),
        pytest.param(lambda block: {"continuation": (EOS, 1)}, id="continues after the end"),
        pytest.param(lambda block: {"accepted": 0, "correction": EOS}, id="leaves no text"),
    ],
)
def test_mismatched_verdict_is_refused_and_changes_nothing(change: Change) -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    sent = next_escalation(decoder)
    decoder.advance()
    before = list(session.tokens)
    fields = {**accept_all(0, sent.tokens).model_dump(), **change(sent.tokens)}
    with pytest.raises(VerifierMisbehaved, match="does not match"):
        decoder.receive_verdict(Verdict(**fields))
    assert list(session.tokens) == before
    decoder.verdict_missed()
    assert isinstance(decoder.advance(), Finished)


@pytest.mark.parametrize("pipelined", [False, True])
def test_continuation_beyond_longest_caption_is_cut(pipelined: bool) -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    sent = next_escalation(decoder)
    if pipelined:
        decoder.advance()
    fields = {**accept_all(0, sent.tokens).model_dump(), "continuation": (1,) * 200}
    decoder.receive_verdict(Verdict(**fields))
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert [token.source for token in event.tokens[5:]] == [TokenSource.CONTINUED] * 19
    assert list(session.tokens) == [*sent.tokens, *(1,) * 19]


def test_nan_logits_raise_model_error() -> None:
    class Broken(ScriptedSession):
        def predict(self):  # type: ignore[no-untyped-def]
            prediction = super().predict()
            prediction.logits[:] = np.nan
            return prediction

    decoder = Decoder(
        lambda _: Broken(ScriptedDrafter(), CLIP),
        eos=EOS,
        max_tokens=24,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=NeverEscalate(),
        piece=str,
    )
    with pytest.raises(ModelError):
        decoder.advance()


def test_drafting_stops_as_soon_as_answer_is_there() -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    next_escalation(decoder)
    steps = session.steps
    looks = iter([False, False, True])
    assert isinstance(decoder.advance(lambda: next(looks)), VerdictAwaited)
    assert session.steps == steps + 2
    assert isinstance(decoder.advance(), VerdictAwaited)
    assert session.tokens[-1] == EOS, "without an answer the whole caption is drafted"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 5))
def test_time_of_answer_does_not_change_caption(arrivals: list[bool], accepted: int) -> None:
    drafter = long_drafter()

    def caption_of(looks: list[bool]) -> Finished:
        decoder, _ = decoder_of(drafter, AlwaysEscalate())
        times, start = iter(looks), 0
        while not isinstance(event := decoder.advance(lambda: next(times, True)), Finished):
            if not isinstance(event, EscalationRequested):
                continue
            block = event.escalation.tokens
            decoder.advance(lambda: next(times, True))
            kept = min(accepted, len(block))
            verdict = accept_all(start, block)
            if kept < len(block):
                other = next(t for t in range(1, 12) if t != block[kept])
                verdict = Verdict(
                    caption=0, start=start, accepted=kept, correction=other, continuation=()
                )
            decoder.receive_verdict(verdict)
            start += len(block) if kept == len(block) else kept + 1
        return event

    assert caption_of(arrivals) == caption_of([])


def test_gain_that_is_no_number_raises_model_error() -> None:
    decoder = Decoder(
        lambda _: SlotSession(),
        eos=EOS,
        max_tokens=20,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=NeverEscalate(),
        piece=str,
        rules=BlockRules(slot_table()),
        expected_gain=lambda logits, ood_score: float("nan"),
    )
    with pytest.raises(ModelError, match="the expected gain is not a number"):
        decoder.advance()
