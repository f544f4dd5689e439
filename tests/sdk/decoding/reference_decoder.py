"""A slow decoder without speculation, cache or deltas, and random scripts to compare it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np
from hypothesis import strategies as st
from ugsd_privacy.protocol.messages import Disclosure, Verdict
from ugsd_sdk.decoding.events import (
    DecodedToken,
    DecodingCounts,
    Outcome,
    TokenSource,
)
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
)
from ugsd_sdk.decoding.repetition import greedy_token
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter, ScriptedSession

LEVELS = tuple(level for level in Disclosure if level is not Disclosure.DISTRIBUTIONS)
"""Those of a drafter without slots, which draws no values."""
CLIP = ConditionedClip(np.array([0.5], dtype=np.float32), 1.0)
VERIFIED, CORRECTED, CONTINUED = TokenSource.VERIFIED, TokenSource.CORRECTED, TokenSource.CONTINUED


@dataclass
class Script:
    """A random drafter, policy and verifier, each a pure function of its arguments."""

    seed: int
    vocabulary_size: int
    max_tokens: int
    block_tokens: int
    failure_rate: float
    """Probability that an escalation is blocked or unanswered."""
    levels: tuple[Disclosure, ...]

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
        disclosure = random.choice(self.levels)
        return Escalate(disclosure, random.choice([None, random.randint(1, len(block.tokens))]))

    def outcome(self, start: int, block: tuple[int, ...]) -> str:
        random = Random(f"outcome {self.seed} {start} {block}")
        if random.random() >= self.failure_rate:
            return "verdict"
        return random.choice(["blocked", "unanswered"])

    def verdict(self, start: int, block: tuple[int, ...], ahead: tuple[int, ...]) -> Verdict:
        """Return a random valid verdict. ``ahead`` is what the drafter would draft next: half of
        the continuations begin with part of it, so that speculative tokens are often reused."""
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
            continuation += ahead[: random.randrange(len(ahead) + 1)]
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
    levels = draw(st.sampled_from([*((level,) for level in LEVELS), LEVELS]))
    return Script(
        seed=draw(st.integers(0, 2**20)),
        vocabulary_size=draw(st.integers(2, 9)),
        max_tokens=draw(st.integers(1, 30)),
        block_tokens=draw(st.integers(1, 7)),
        failure_rate=draw(st.sampled_from([0.0, 0.1, 0.5])),
        levels=levels,
    )


@dataclass
class Result:
    tokens: list[DecodedToken] = field(default_factory=list)
    token_positions: set[int] = field(default_factory=set)
    state_positions: set[int] = field(default_factory=set)
    states: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    """Every state that was sent, in order, with its position."""
    contexts: list[tuple[int, ...]] = field(default_factory=list)
    """The verifier's context and the block, for each escalation."""
    counts: DecodingCounts | None = None
    blocks: list[tuple[int, int, float, Outcome]] = field(default_factory=list)
    """Start, number of tokens, uncertainty and outcome of each drafted block."""


def fresh(drafter: ScriptedDrafter, tokens: list[int]) -> ScriptedSession:
    session = drafter.start(CLIP)
    if tokens:
        session.append(tokens)
    return session


def greedy(drafter: ScriptedDrafter, context: list[int], count: int) -> list[int]:
    """Return what the drafter drafts after ``context``, computed from scratch at every token."""
    drafted: list[int] = []
    while len(drafted) < count:
        tokens = context + drafted
        if len(tokens) >= drafter.info.max_tokens or (tokens and tokens[-1] == EOS):
            break
        drafted.append(greedy_token(fresh(drafter, tokens).predict().logits, tokens, eos=EOS))
    return drafted


def reference(script: Script) -> Result:
    """The algorithm, as simple as possible."""
    drafter, uncertainty, result = script.drafter(), EntropyUncertainty(), Result()
    tokens: list[int] = []
    verifier_has: list[int] = []
    known_to_verifier: set[int] = set()  # positions of the caption that need not be sent
    num_blocks = num_escalated = num_drafted = 0
    is_disabled = False
    while block := greedy(drafter, tokens, script.block_tokens):
        start, predictions = len(tokens), []
        for index in range(len(block)):
            predictions.append(fresh(drafter, tokens + block[:index]).predict())
        scores = [uncertainty(p.logits, 1.0) for p in predictions]
        view = BlockView(start, tuple(block), tuple(scores), 0 in result.state_positions)
        decision = KeepLocal() if is_disabled else script.policy(view, BudgetView())
        if isinstance(decision, Escalate):
            block, predictions = block[: decision.tokens], predictions[: decision.tokens]
            scores = scores[: decision.tokens]
        num_drafted += len(block)
        outcome = "commit"
        if isinstance(decision, Escalate):
            outcome = script.outcome(start, tuple(block))
        local = Outcome.VERIFIER_DISABLED if is_disabled else Outcome.LOCAL
        recorded = {"commit": local, "blocked": Outcome.BLOCKED}.get(outcome, Outcome.SENT)
        result.blocks.append((start, len(block), max(scores), recorded))
        if outcome in {"verdict", "unanswered"}:
            assert isinstance(decision, Escalate)
            num_blocks, num_escalated = num_blocks + 1, num_escalated + len(block)
            unsent = [i for i in range(start) if i not in known_to_verifier]
            result.token_positions |= {*unsent, *range(start, start + len(block))}
            for i in unsent:
                old = result.tokens[i]
                result.tokens[i] = DecodedToken(
                    old.token, old.source, old.uncertainty, disclosed=True
                )
            result.contexts.append((*tokens, *block))
            disclosed = {
                Disclosure.TOKENS: set(),
                Disclosure.SUMMARY: {0} - result.state_positions,
                Disclosure.BLOCK_STATES: set(range(start, start + len(block))),
                Disclosure.ALL_STATES: {*unsent, *range(start, start + len(block))},
            }[decision.disclosure]
            for i in sorted(disclosed):
                state = fresh(drafter, (tokens + block)[:i]).predict().state
                result.states.append((i, tuple(map(float, state))))
            result.state_positions |= disclosed
        if outcome == "verdict":
            ahead = greedy(drafter, tokens + block, script.block_tokens)
            verdict = script.verdict(start, tuple(block), tuple(ahead))
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
        is_disabled = is_disabled or outcome != "commit"
        for token, score in zip(block, scores, strict=True):
            was_sent = outcome == "unanswered"
            result.tokens.append(DecodedToken(token, TokenSource.DRAFTED, score, was_sent))
        tokens += block
    result.counts = DecodingCounts(
        num_blocks,
        num_escalated,
        num_drafted,
        len(result.token_positions),
        len(result.state_positions),
    )
    return result
