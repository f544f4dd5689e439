"""The decoder against a reference that knows no speculation, no cache and no deltas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Disclosure, Verdict
from ugsd_sdk.decoding.decoder import Decoder, DecoderState
from ugsd_sdk.decoding.events import (
    DecodedToken,
    DecodingCounts,
    EscalationRequested,
    Finished,
    Outcome,
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
from ugsd_sdk.drafter import AudioEmbedding
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter, ScriptedSession
from ugsd_sdk.errors import ModelError, VerifierMisbehaved

EVIDENCE = AudioEmbedding(np.array([0.5], dtype=np.float32), 1.0)
VERIFIED, CORRECTED, CONTINUED = TokenSource.VERIFIED, TokenSource.CORRECTED, TokenSource.CONTINUED


@dataclass
class Script:
    """One random world: a drafter, a policy and a verifier, each a function of what it is given."""

    seed: int
    vocabulary_size: int
    max_tokens: int
    block_tokens: int
    trouble: float
    """How likely an escalation is withheld or unanswered."""
    ladder: tuple[Disclosure, ...]

    def drafter(self) -> ScriptedDrafter:
        return ScriptedDrafter(
            seed=self.seed, vocabulary_size=self.vocabulary_size, max_tokens=self.max_tokens
        )

    def policy(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        random = Random(
            f"policy {self.seed} {block.start} {block.tokens} {block.verifier_has_summary}"
        )
        if random.random() < 0.3:
            return KeepLocal()
        disclosure = random.choice(self.ladder)
        return Escalate(disclosure, random.choice([None, random.randint(1, len(block.tokens))]))

    def outcome(self, start: int, block: tuple[int, ...]) -> str:
        random = Random(f"outcome {self.seed} {start} {block}")
        if random.random() >= self.trouble:
            return "verdict"
        return random.choice(["withheld", "unanswered"])

    def verdict(self, start: int, block: tuple[int, ...], agree: tuple[int, ...]) -> Verdict:
        """Any verdict that fits. ``agree`` is what the drafter would draft next: half the
        continuations begin with some of it, so that reuse of speculation is met often."""
        random = Random(f"verdict {self.seed} {start} {block}")
        accepted = random.choice([len(block), random.randrange(len(block) + 1)])
        final = list(block[:accepted])
        correction = None
        if accepted < len(block):
            others = [t for t in range(self.vocabulary_size) if t != block[accepted]]
            correction = random.choice(others)
            final.append(correction)
        room = self.max_tokens - start - len(final)
        wanted = random.choice([0, 0, random.randrange(12)])
        continuation: list[int] = []
        if correction is None and random.random() < 0.5:
            continuation += agree[: random.randrange(len(agree) + 1)]
        while len(continuation) < wanted:
            continuation.append(random.randrange(self.vocabulary_size))
        continuation = continuation[:room]
        if EOS in final:
            continuation = []
        if EOS in continuation:
            continuation = continuation[: continuation.index(EOS) + 1]
        return Verdict(
            caption=0,
            start=start,
            accepted=accepted,
            correction=correction,
            continuation=tuple(continuation),
        )


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    ladder = draw(st.sampled_from([*((d,) for d in Disclosure), tuple(Disclosure)]))
    return Script(
        seed=draw(st.integers(0, 2**20)),
        vocabulary_size=draw(st.integers(2, 9)),
        max_tokens=draw(st.integers(1, 30)),
        block_tokens=draw(st.integers(1, 7)),
        trouble=draw(st.sampled_from([0.0, 0.1, 0.5])),
        ladder=ladder,
    )


@dataclass
class Result:
    tokens: list[DecodedToken] = field(default_factory=list)
    token_positions: set[int] = field(default_factory=set)
    state_positions: set[int] = field(default_factory=set)
    states: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    """Every state that left, in order, with its position."""
    contexts: list[tuple[int, ...]] = field(default_factory=list)
    """What the verifier then had before it, per escalation: context and block."""
    tally: DecodingCounts | None = None
    blocks: list[tuple[int, int, float, Outcome]] = field(default_factory=list)
    """Start, tokens and uncertainty of each drafted block, and what became of it."""


def fresh(drafter: ScriptedDrafter, tokens: list[int]) -> ScriptedSession:
    session = drafter.start(EVIDENCE)
    if tokens:
        session.append(tokens)
    return session


def greedy(drafter: ScriptedDrafter, context: list[int], count: int) -> list[int]:
    """What the drafter drafts after ``context``, computed from scratch at every token."""
    drafted: list[int] = []
    while len(drafted) < count:
        tokens = context + drafted
        if len(tokens) >= drafter.info.max_tokens or (tokens and tokens[-1] == EOS):
            break
        drafted.append(int(np.argmax(fresh(drafter, tokens).predict().logits)))
    return drafted


def reference(script: Script) -> Result:
    """The algorithm, said as plainly as possible."""
    drafter, gate, result = script.drafter(), EntropyUncertainty(), Result()
    tokens: list[int] = []
    verifier_has: list[int] = []
    known_to_verifier: set[int] = set()  # positions of the caption that need not be sent
    blocks = escalated = judged = 0
    alone = False
    while block := greedy(drafter, tokens, script.block_tokens):
        start, predictions = len(tokens), []
        for index in range(len(block)):
            predictions.append(fresh(drafter, tokens + block[:index]).predict())
        scores = [gate(p.logits, 1.0) for p in predictions]
        view = BlockView(start, tuple(block), tuple(scores), 0 in result.state_positions)
        decision = KeepLocal() if alone else script.policy(view, BudgetView())
        if isinstance(decision, Escalate):
            block, predictions = block[: decision.tokens], predictions[: decision.tokens]
            scores = scores[: decision.tokens]
        judged += len(block)
        outcome = "commit"
        if isinstance(decision, Escalate):
            outcome = script.outcome(start, tuple(block))
        kept = Outcome.VERIFIER_DISABLED if alone else Outcome.LOCAL
        became = {"commit": kept, "withheld": Outcome.BLOCKED}.get(outcome, Outcome.SENT)
        result.blocks.append((start, len(block), max(scores), became))
        if outcome in {"verdict", "unanswered"}:
            assert isinstance(decision, Escalate)
            blocks, escalated = blocks + 1, escalated + len(block)
            unsent = [i for i in range(start) if i not in known_to_verifier]
            result.token_positions |= {*unsent, *range(start, start + len(block))}
            for i in unsent:
                old = result.tokens[i]
                result.tokens[i] = DecodedToken(
                    old.token, old.source, old.uncertainty, disclosed=True
                )
            result.contexts.append((*tokens, *block))
            asked = {
                Disclosure.TOKENS: set(),
                Disclosure.SUMMARY: {0} - result.state_positions,
                Disclosure.BLOCK_STATES: set(range(start, start + len(block))),
                Disclosure.ALL_STATES: {*unsent, *range(start, start + len(block))},
            }[decision.disclosure]
            for i in sorted(asked):
                state = fresh(drafter, (tokens + block)[:i]).predict().state
                result.states.append((i, tuple(map(float, state))))
            result.state_positions |= asked
        if outcome == "verdict":
            agree = greedy(drafter, tokens + block, script.block_tokens)
            verdict = script.verdict(start, tuple(block), tuple(agree))
            for token, score in list(zip(block, scores, strict=True))[: verdict.accepted]:
                result.tokens.append(DecodedToken(token, VERIFIED, score, disclosed=True))
            if verdict.correction is not None:
                replaced = tuple(block[verdict.accepted :])
                result.tokens.append(
                    DecodedToken(
                        verdict.correction, CORRECTED, None, disclosed=False, replaced=replaced
                    )
                )
            for token in verdict.continuation:
                result.tokens.append(DecodedToken(token, CONTINUED, None, disclosed=False))
            tokens = [token.token for token in result.tokens]
            verifier_has = list(tokens)
            known_to_verifier = set(range(len(verifier_has)))
            continue
        alone = alone or outcome != "commit"
        for token, score in zip(block, scores, strict=True):
            left = outcome == "unanswered"
            result.tokens.append(DecodedToken(token, TokenSource.DRAFTED, score, left))
        tokens += block
    result.tally = DecodingCounts(
        blocks, escalated, judged, len(result.token_positions), len(result.state_positions)
    )
    return result


def drive(script: Script) -> Result:
    """Run the real decoder, playing the verifier from the deltas it is sent."""
    drafter, result = script.drafter(), Result()
    session = drafter.start(EVIDENCE)
    decoder = Decoder(
        session,
        eos=EOS,
        max_tokens=script.max_tokens,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=script.policy,
        piece=str,
        block_tokens=script.block_tokens,
    )
    held: list[int] = []
    for _ in range(1000):
        event = decoder.advance()
        if isinstance(event, Finished):
            result.tokens, result.tally = list(event.tokens), event.counts
            result.blocks = [
                (b.start, b.num_tokens, b.uncertainty, b.outcome) for b in event.blocks
            ]
            assert all(block.reason for block in event.blocks)
            assert list(session.tokens) == [token.token for token in event.tokens]
            return result
        assert isinstance(event, EscalationRequested)
        sent = event.escalation
        start = sent.keep + len(sent.prefix)
        outcome = script.outcome(start, sent.tokens)
        if outcome == "withheld":
            decoder.escalation_blocked()
            continue
        assert sent.keep <= len(held)
        context = held[: sent.keep] + list(sent.prefix)
        result.contexts.append((*context, *sent.tokens))
        result.token_positions |= set(range(sent.keep, start + len(sent.tokens)))
        for position, state in zip(sent.state_positions, sent.states, strict=True):
            result.states.append((position, tuple(map(float, state))))
            result.state_positions.add(position)
        if Random(f"{script.seed} {start}").random() < 0.7:  # pipelined, mostly
            assert isinstance(decoder.advance(), VerdictAwaited)
            steps = session.steps
            assert isinstance(decoder.advance(), VerdictAwaited)
            assert session.steps == steps, "asked twice, it must not draft twice"
        assert list(session.tokens[: len(context) + len(sent.tokens)]) == [*context, *sent.tokens]
        if outcome == "unanswered":
            decoder.verdict_missed()
            continue
        agree = greedy(drafter, [*context, *sent.tokens], script.block_tokens)
        verdict = script.verdict(start, sent.tokens, tuple(agree))
        decoder.receive_verdict(verdict)
        held = context + list(sent.tokens[: verdict.accepted])
        held += [] if verdict.correction is None else [verdict.correction]
        held += verdict.continuation
        assert list(session.tokens[: len(held)]) == held
    raise AssertionError("the decoder does not end")


@settings(max_examples=300, deadline=None)
@given(scripts())
def test_speculation_cache_and_deltas_change_neither_caption_nor_disclosure(script: Script) -> None:
    expected, actual = reference(script), drive(script)
    assert actual.tokens == expected.tokens
    assert actual.contexts == expected.contexts
    assert actual.states == expected.states
    assert actual.token_positions == expected.token_positions
    assert actual.state_positions == expected.state_positions
    assert actual.tally == expected.tally
    assert actual.blocks == expected.blocks


@settings(max_examples=100, deadline=None)
@given(scripts())
def test_the_caption_ends_at_the_end_marker_or_the_limit(script: Script) -> None:
    tokens = [token.token for token in drive(script).tokens]
    assert len(tokens) == script.max_tokens or tokens[-1] == EOS
    assert len(tokens) <= script.max_tokens
    assert EOS not in tokens[:-1]


def decoder_of(
    drafter: ScriptedDrafter, policy: Policy, *, block_tokens: int = 5
) -> tuple[Decoder, ScriptedSession]:
    session = drafter.start(EVIDENCE)
    decoder = Decoder(
        session,
        eos=EOS,
        max_tokens=drafter.info.max_tokens,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=policy,
        piece=drafter.piece,
        block_tokens=block_tokens,
    )
    return decoder, session


def long_drafter() -> ScriptedDrafter:
    """One whose own caption has at least 15 tokens."""
    for seed in range(1000):
        drafter = ScriptedDrafter(seed=seed)
        if len(greedy(drafter, [], 24)) >= 15:
            return drafter
    raise AssertionError("no such seed")


def due(decoder: Decoder) -> Escalation:
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
    first = due(decoder)
    assert isinstance(decoder.advance(), VerdictAwaited)
    steps = session.steps
    decoder.receive_verdict(accept_all(0, first.tokens))
    second = due(decoder)
    assert session.steps == steps
    assert (second.keep, second.prefix) == (5, ())


@pytest.mark.parametrize("first_doubtful", [0, 5, 1000])
def test_drafting_out_drafts_the_whole_caption_and_changes_no_word(first_doubtful: int) -> None:
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
    assert (session.steps, session.tokens) == (steps, tokens), "all was drafted before"


def event_start(sent: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> int:
    """Where the last block sent starts, all before it being accepted."""
    *before, (prefix, _) = sent
    return sum(len(p) + len(t) for p, t in before) + len(prefix)


def test_a_correction_and_its_continuation_are_prefilled_in_one_step() -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    first = due(decoder)
    decoder.advance()
    steps = session.steps
    other = next(t for t in range(1, 12) if t != first.tokens[2])
    decoder.receive_verdict(
        Verdict(caption=0, start=0, accepted=2, correction=other, continuation=(3, 4, 5))
    )
    assert session.steps == steps + 1
    assert list(session.tokens) == [*first.tokens[:2], other, 3, 4, 5]


def test_tokens_written_by_the_verifier_are_never_sent_back() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    first = due(decoder)
    other = next(t for t in range(1, 12) if t != first.tokens[0])
    decoder.receive_verdict(
        Verdict(caption=0, start=0, accepted=0, correction=other, continuation=(3,))
    )
    second = due(decoder)
    assert (second.keep, second.prefix) == (2, ())


def test_a_committed_prefix_is_sent_once_with_the_next_escalation() -> None:
    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return KeepLocal() if block.start in {0, 5} else Escalate(Disclosure.ALL_STATES)

    drafter = long_drafter()
    decoder, _ = decoder_of(drafter, policy)
    sent = due(decoder)
    assert (sent.keep, len(sent.prefix)) == (0, 10)
    assert sent.state_positions == tuple(range(10 + len(sent.tokens)))
    assert sent.states.shape == (len(sent.state_positions), 4)
    assert sent.states.dtype == np.float32


def test_the_summary_is_sent_once_per_caption() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate(Disclosure.SUMMARY))
    first = due(decoder)
    decoder.receive_verdict(accept_all(0, first.tokens))
    second = due(decoder)
    assert (first.state_positions, second.state_positions) == ((0,), ())
    assert second.states.shape == (0, 4)


def test_the_state_says_what_is_awaited() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    assert decoder.state is DecoderState.DRAFTING
    due(decoder)
    decoder.advance()
    assert decoder.state is DecoderState.IN_FLIGHT
    decoder.verdict_missed()
    assert decoder.state is DecoderState.DRAFTING
    decoder.advance()
    assert decoder.state is DecoderState.FINISHED
    with pytest.raises(AssertionError, match="finished"):
        decoder.escalation_blocked()


def test_a_withheld_block_counts_as_nothing_and_ends_escalation() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    due(decoder)
    decoder.escalation_blocked()
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert event.counts.num_blocks == event.counts.num_disclosed_tokens == 0
    assert not any(token.disclosed for token in event.tokens)


def test_an_unanswered_block_is_accounted_for_though_unverified() -> None:
    decoder, _ = decoder_of(long_drafter(), AlwaysEscalate())
    due(decoder)
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
        pytest.param(lambda block: {"continuation": (EOS, 1)}, id="goes on after the end"),
        pytest.param(lambda block: {"accepted": 0, "correction": EOS}, id="leaves no text"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_and_changes_nothing(change: Change) -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    sent = due(decoder)
    decoder.advance()
    before = list(session.tokens)
    fields = {**accept_all(0, sent.tokens).model_dump(), **change(sent.tokens)}
    with pytest.raises(VerifierMisbehaved, match="does not match"):
        decoder.receive_verdict(Verdict(**fields))
    assert list(session.tokens) == before
    decoder.verdict_missed()
    assert isinstance(decoder.advance(), Finished)


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_continuation_past_the_devices_longest_caption_is_cut(pipelined: bool) -> None:
    decoder, session = decoder_of(long_drafter(), AlwaysEscalate())
    sent = due(decoder)
    if pipelined:
        decoder.advance()
    fields = {**accept_all(0, sent.tokens).model_dump(), "continuation": (1,) * 200}
    decoder.receive_verdict(Verdict(**fields))
    event = decoder.advance()
    assert isinstance(event, Finished)
    assert [token.source for token in event.tokens[5:]] == [TokenSource.CONTINUED] * 19
    assert list(session.tokens) == [*sent.tokens, *(1,) * 19]


def test_a_drafter_that_answers_nan_raises_a_model_error() -> None:
    class Broken(ScriptedSession):
        def predict(self):  # type: ignore[no-untyped-def]
            prediction = super().predict()
            prediction.logits[:] = np.nan
            return prediction

    decoder = Decoder(
        Broken(ScriptedDrafter(), EVIDENCE),
        eos=EOS,
        max_tokens=24,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=NeverEscalate(),
        piece=str,
    )
    with pytest.raises(ModelError):
        decoder.advance()
