"""The decoder compared with a reference that has no speculation, cache or deltas."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import (
    EscalationRequested,
    Finished,
    VerdictAwaited,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.drafter.scripted import EOS

from tests.sdk.decoding.reference_decoder import (
    CLIP,
    Result,
    Script,
    greedy,
    reference,
    scripts,
)


def drive(script: Script) -> Result:
    """Run the real decoder with a verifier that sees only the sent blocks."""
    drafter, result = script.drafter(), Result()
    session = drafter.start(CLIP)
    decoder = Decoder(
        lambda _: session,
        eos=EOS,
        max_tokens=script.max_tokens,
        ood_score=1.0,
        uncertainty=EntropyUncertainty(),
        policy=script.policy,
        piece=str,
        rules=BlockRules(block_tokens=script.block_tokens),
    )
    known: list[int] = []
    """Tokens that the verifier has."""
    for _ in range(1000):
        event = decoder.advance()
        if isinstance(event, Finished):
            result.tokens, result.counts = list(event.tokens), event.counts
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
        if outcome == "blocked":
            decoder.escalation_blocked()
            continue
        assert sent.keep <= len(known)
        context = known[: sent.keep] + list(sent.prefix)
        result.contexts.append((*context, *sent.tokens))
        result.token_positions |= set(range(sent.keep, start + len(sent.tokens)))
        for position, state in zip(sent.state_positions, sent.states, strict=True):
            result.states.append((position, tuple(map(float, state))))
            result.state_positions.add(position)
        if Random(f"{script.seed} {start}").random() < 0.7:  # usually drafts while waiting
            assert isinstance(decoder.advance(), VerdictAwaited)
            steps = session.steps
            assert isinstance(decoder.advance(), VerdictAwaited)
            assert session.steps == steps, "a second call must not draft again"
        assert list(session.tokens[: len(context) + len(sent.tokens)]) == [*context, *sent.tokens]
        if outcome == "unanswered":
            decoder.verdict_missed()
            continue
        ahead = greedy(drafter, [*context, *sent.tokens], script.block_tokens)
        verdict = script.verdict(start, sent.tokens, tuple(ahead))
        decoder.receive_verdict(verdict)
        known = context + list(sent.tokens[: verdict.accepted])
        known += [] if verdict.correction is None else [verdict.correction]
        known += verdict.continuation
        assert list(session.tokens[: len(known)]) == known
    raise AssertionError("the decoder does not end")


@settings(max_examples=300, deadline=None)
@given(scripts())
def test_speculation_changes_neither_caption_nor_disclosure(script: Script) -> None:
    expected, actual = reference(script), drive(script)
    assert actual.tokens == expected.tokens
    assert actual.contexts == expected.contexts
    assert actual.states == expected.states
    assert actual.token_positions == expected.token_positions
    assert actual.state_positions == expected.state_positions
    assert actual.counts == expected.counts
    assert actual.blocks == expected.blocks


@settings(max_examples=100, deadline=None)
@given(scripts())
def test_caption_ends_at_end_marker_or_limit(script: Script) -> None:
    tokens = [token.token for token in drive(script).tokens]
    assert len(tokens) == script.max_tokens or tokens[-1] == EOS
    assert len(tokens) <= script.max_tokens
    assert EOS not in tokens[:-1]
