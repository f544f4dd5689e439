"""Uncertainty-guided speculative decoding of one caption: a state machine without I/O.

The driver calls :meth:`Decoder.advance` and does what the returned event requests. The states are
those of :class:`DecoderState`::

    DRAFTING ── advance() ──> Finished ──> FINISHED
       ^  └──── advance() ──> EscalationRequested ──> IN_FLIGHT
       │                                                 │ advance() ──> VerdictAwaited
       ├── receive_verdict(v)      accepted or corrected ┤               (drafts on meanwhile)
       ├── escalation_blocked(why) not sent; disabled ───┤
       └── verdict_missed(why)     unanswered; disabled ─┘

*Disabled* means that the rest of the caption is drafted without the verifier. One refusal is
enough: a later block of the caption would need at least as much of any cap or deadline, since it
includes every token that the verifier has not seen as context.

Which tokens form a block, and what a verdict on it may change, is decided by
:class:`~ugsd_sdk.decoding.block_rules.BlockRules`. Tokens that no verifier is asked about, such as
the clauses that state what the device measured, form one last block, which is never escalated.

``committed`` tokens are final; ``ahead`` are drafted tokens after them. The draft session always
contains committed + ahead, and its KV cache is cropped, never rebuilt. The verifier knows the first
``num_verified`` committed tokens, which it accepted or wrote, so a block's prefix is only the
committed tokens after those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Disclosure, Verdict
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason

from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.events import (
    BlockOutcome,
    DecodedToken,
    DecodingCounts,
    EscalationRequested,
    Event,
    Finished,
    Outcome,
    TokenSource,
    VerdictAwaited,
)
from ugsd_sdk.decoding.policy import NOT_JUDGED, BlockView, BudgetView, Escalate, KeepLocal, Policy
from ugsd_sdk.decoding.repetition import greedy_token
from ugsd_sdk.decoding.uncertainty import Uncertainty
from ugsd_sdk.decoding.verdict_check import checked_tokens
from ugsd_sdk.drafter import DraftSession
from ugsd_sdk.errors import ConfigError, ModelError
from ugsd_sdk.settings.speculative import disclosure_fault

__all__ = ["Decoder", "DecoderState"]

_TOKENS_IN_FLIGHT = 16
"""Tokens that are drafted while a block is on its way: about what remains of a normal caption. An
accepted draft then costs only the longer of the two times."""


class DecoderState(StrEnum):
    """What a :class:`Decoder` waits for."""

    DRAFTING = "drafting"
    """Nothing: call :meth:`Decoder.advance`."""
    IN_FLIGHT = "in flight"
    """The outcome of the escalated block: call ``receive_verdict()``, ``escalation_blocked()`` or
    ``verdict_missed()``; ``advance()`` drafts in the meantime."""
    FINISHED = "finished"
    """Nothing: the caption is complete, and ``advance()`` returns it."""


@dataclass(frozen=True)
class _Drafted:
    token: int
    uncertainty: float | None
    """``None`` for a token that no verifier decides."""
    state: NDArray[np.float32]
    draft_weights: bytes = b""
    """The distribution from which the token's value was drawn; empty if it was not."""


@dataclass(frozen=True)
class _InFlight:
    block: Sequence[_Drafted]
    escalation: Escalation
    reason: Reason
    """Why the policy escalates the block."""


class Decoder:
    """Decodes one caption. The module describes the protocol between decoder and driver."""

    def __init__(
        self,
        start: Callable[[str | None], DraftSession],
        *,
        eos: int,
        max_tokens: int,
        ood_score: float,
        uncertainty: Uncertainty,
        policy: Policy,
        piece: Callable[[int], str],
        budget: Callable[[], BudgetView] = BudgetView,
        rules: BlockRules | None = None,
    ) -> None:
        """``start`` returns a new, empty draft of the caption, which only the decoder uses, and
        which names the given emotion if there is one. ``piece`` returns a token's text, as
        :meth:`~ugsd_sdk.drafter.Drafter.piece` does. Without ``rules`` all tokens may be asked
        about."""
        self._start = start
        self._session = start(None)
        self._eos = eos
        self._max_tokens = max_tokens
        self._ood_score = ood_score
        self._uncertainty = uncertainty
        self._policy = policy
        self._piece = piece
        self._budget = budget
        self._rules = rules or BlockRules()
        self._is_settled = False
        """Whether the emotion was given, so that there is nothing to ask."""
        self._vocabulary_size = 0
        self._committed: list[DecodedToken] = []
        self._states: dict[int, NDArray[np.float32]] = {}
        """States of the committed positions from ``num_verified`` on, all drafted here."""
        self._summary: NDArray[np.float32] | None = None
        self._ahead: list[_Drafted] = []
        self._num_verified = 0
        self._in_flight: _InFlight | None = None
        self._disabled_reason: Reason | None = None
        """Why the rest is drafted without the verifier; ``None`` if it is not."""
        self._outcomes: list[BlockOutcome] = []
        self._num_blocks = self._num_escalated = self._num_drafted = 0
        self._disclosed_tokens: set[int] = set()
        self._disclosed_states: set[int] = set()
        self._has_sent_draft_weights = False

    @property
    def state(self) -> DecoderState:
        """What the decoder waits for."""
        if self._in_flight is not None:
            return DecoderState.IN_FLIGHT
        return DecoderState.FINISHED if self._ended() else DecoderState.DRAFTING

    # -- what the driver calls

    def advance(self) -> Event:
        """Draft blocks and apply the policy until the driver must act.

        Raises :class:`ConfigError` if the policy asks for a disclosure that does not fit, and
        :class:`ModelError` if the drafter's numbers are no numbers.
        """
        if self._in_flight is not None:
            self._draft(len(self._in_flight.block) + _TOKENS_IN_FLIGHT)
            return VerdictAwaited()
        while self.state is DecoderState.DRAFTING:
            block = self._next_block()
            if not block:
                self._commit_rest()
                continue
            decision = self._decide(block)
            if isinstance(decision, KeepLocal):
                self._num_drafted += len(block)
                outcome = Outcome.VERIFIER_DISABLED if self._disabled_reason else Outcome.LOCAL
                self._record(block, outcome, as_reason(decision.reason))
                self._commit(block, TokenSource.DRAFTED, disclosed=False)
                continue
            if decision.tokens is not None and not self._rules.by_slot:
                block = block[: max(1, decision.tokens)]
            self._num_drafted += len(block)
            escalation = self._escalation(block, decision.disclosure)
            self._in_flight = _InFlight(block, escalation, as_reason(decision.reason))
            return EscalationRequested(escalation)
        return Finished(
            tuple(self._committed),
            self._counts(),
            tuple(self._outcomes),
            has_sent_draft_weights=self._has_sent_draft_weights,
        )

    def draft_to_end(self) -> None:
        """Draft to the caption's end, in any state. In constant shape a frame is sent only after
        that, so that its time does not reveal which block was doubtful."""
        self._draft(self._max_tokens)

    def receive_verdict(self, verdict: Verdict) -> None:
        """Apply the verifier's answer to the block in flight.

        A continuation (only verifiers of tokens write one) beyond the longest caption of this
        device is cut, since the verifier may allow longer captions. Raises
        :class:`VerifierMisbehaved` for an answer that does not match the block, which stays in
        flight: call :meth:`verdict_missed` next.
        """
        flight = self._flight()
        block = flight.block
        written = checked_tokens(
            verdict,
            committed=[token.token for token in self._committed],
            block=[drafted.token for drafted in block],
            rules=self._rules,
            eos=self._eos,
            vocabulary_size=self._vocabulary_size,
            piece=self._piece,
        )
        del written[self._max_tokens - len(self._committed) - verdict.accepted :]
        accepted, rejected = block[: verdict.accepted], block[verdict.accepted :]
        self._mark_disclosed(flight)
        self._in_flight = None
        reason = replace(flight.reason, accepted=verdict.accepted, offered=len(block))
        self._record(block, Outcome.SENT, reason)
        if self._rules.by_slot and written:
            emotion = self._rules.emotion_of(written)
            assert emotion is not None  # noqa: S101  # it was checked
            self._settle(emotion, block, TokenSource.CORRECTED, disclosed=True)
            self._states.clear()
            return
        self._commit(accepted, self._source_of_accepted(flight), disclosed=True)
        self._num_verified = len(self._committed)
        self._states.clear()
        if not written:  # the verifier would have ended the clause: the draft goes on
            self._commit(rejected, TokenSource.DRAFTED, disclosed=True)
            return
        self._adopt(written)
        for index, token in enumerate(written):
            corrects = index == 0 and verdict.correction is not None
            source = TokenSource.CORRECTED if corrects else TokenSource.CONTINUED
            replaced = tuple(drafted.token for drafted in rejected) if corrects else ()
            self._committed.append(
                DecodedToken(token, source, None, disclosed=False, replaced=replaced)
            )
        self._num_verified = len(self._committed)

    def _source_of_accepted(self, flight: _InFlight) -> TokenSource:
        """Without a state a verifier cannot judge a value, and accepts any."""
        is_judged = bool(flight.escalation.state_positions) or not self._rules.by_slot
        return TokenSource.VERIFIED if is_judged else TokenSource.DRAFTED

    def escalation_blocked(self, why: Reason | ReasonCode = ReasonCode.BLOCKED) -> None:
        """Keep the draft of the block, which was not sent, and disable the verifier."""
        block = self._flight().block
        self._in_flight = None
        self._record(block, Outcome.BLOCKED, as_reason(why))
        self._disabled_reason = self._after(why)
        self._commit(block, TokenSource.DRAFTED, disclosed=False)

    def verdict_missed(self, why: Reason | ReasonCode = ReasonCode.NO_VERDICT) -> None:
        """Keep the draft of the block, which was sent but has no usable verdict, and disable the
        verifier."""
        flight = self._flight()
        self._mark_disclosed(flight)
        self._in_flight = None
        self._record(flight.block, Outcome.SENT, replace(flight.reason, failure=as_reason(why)))
        self._disabled_reason = self._after(why)
        self._commit(flight.block, TokenSource.DRAFTED, disclosed=True)

    def _after(self, why: Reason | ReasonCode) -> Reason:
        start = len(self._committed)
        return Reason(code=ReasonCode.AFTER_BLOCK, start=start, failure=as_reason(why))

    # -- drafting

    def _next_block(self) -> Sequence[_Drafted]:
        """Draft the next block that a verifier may be asked about; empty if there is none."""
        committed = [token.token for token in self._committed]
        while True:
            ahead = [drafted.token for drafted in self._ahead]
            count = self._rules.next_block_length(
                committed, ahead, is_complete=self._session_ended()
            )
            if count is not None:
                return tuple(self._ahead[:count])
            self._draft(len(ahead) + 1)

    def _commit_rest(self) -> None:
        """Commit what no verifier is asked about, which is the rest of the caption."""
        self._draft(self._max_tokens)
        self._num_drafted += len(self._ahead)
        self._record(self._ahead, Outcome.LOCAL, Reason(code=ReasonCode.MEASURED))
        self._commit(tuple(self._ahead), TokenSource.DRAFTED, disclosed=False)

    def _draft(self, count: int) -> None:
        """Draft until ``count`` tokens are ahead or the caption ends."""
        while len(self._ahead) < count and not self._session_ended():
            prediction = self._session.predict()
            self._vocabulary_size = prediction.logits.size
            token = greedy_token(prediction.choices, self._session.tokens, eos=self._eos)
            score, draft_weights = None, b""
            if not self._is_settled and self._rules.is_judged(token, self._session.tokens):
                score = self._uncertainty(prediction.logits, self._ood_score)
                if self._rules.value_draw is not None:
                    drawn = self._rules.value_draw(prediction.logits)
                    token, draft_weights = drawn.token, drawn.draft_weights
            state = np.array(prediction.state, dtype=np.float32)
            if not np.isfinite(state).all():
                raise ModelError("the drafter's state is not finite: reinstall its weights")
            if self._summary is None:
                self._summary = state
            self._ahead.append(_Drafted(token, score, state, draft_weights))
            self._session.append([token])

    def _session_ended(self) -> bool:
        tokens = self._session.tokens
        return len(tokens) >= self._max_tokens or (bool(tokens) and tokens[-1] == self._eos)

    def _ended(self) -> bool:
        committed = self._committed
        return len(committed) >= self._max_tokens or (
            bool(committed) and committed[-1].token == self._eos
        )

    def _adopt(self, written: Sequence[int]) -> None:
        """Put the verifier's tokens in the session, reusing tokens drafted ahead that match."""
        num_matching = 0
        for token, drafted in zip(written, self._ahead, strict=False):
            if token != drafted.token:
                break
            num_matching += 1
        if num_matching == len(written):
            del self._ahead[:num_matching]
            return
        self._ahead.clear()
        self._session.crop(len(self._committed) + num_matching)
        self._session.append(written[num_matching:])

    # -- committing and disclosing

    def _decide(self, block: Sequence[_Drafted]) -> KeepLocal | Escalate:
        if self._disabled_reason:
            return KeepLocal(self._disabled_reason)
        view = BlockView(
            start=len(self._committed),
            # A policy that knew the value would skew the distribution of what is asked.
            tokens=tuple(one.token for one in takewhile(lambda one: not one.draft_weights, block)),
            uncertainties=tuple(
                NOT_JUDGED if one.uncertainty is None else one.uncertainty for one in block
            ),
            verifier_has_summary=0 in self._disclosed_states,
        )
        return self._policy(view, self._budget())

    def _record(self, block: Sequence[_Drafted], outcome: Outcome, reason: Reason) -> None:
        """Record the outcome of a block, before it is committed or rejected."""
        uncertainty = float(max(drafted.uncertainty or 0.0 for drafted in block))
        start = len(self._committed)
        self._outcomes.append(BlockOutcome(start, len(block), uncertainty, outcome, reason))

    def _commit(self, block: Sequence[_Drafted], source: TokenSource, *, disclosed: bool) -> None:
        """Move ``block``, the first tokens ahead, to the committed tokens. Of a question, only the
        tokens that state the value have the ``source``: the others are wording."""
        asks = self._rules.by_slot and not self._committed
        tokens = [one.token for one in block]
        is_drawn = any(one.draft_weights for one in block)
        drawn = self._rules.emotion_of(tokens) if is_drawn else None
        if drawn and not self._rules.goes_together(tokens, drawn):
            self._settle(drawn, block, source, disclosed=disclosed)
            return
        for drafted in block:
            self._states[len(self._committed)] = drafted.state
            own = source
            if asks and not self._rules.states_value(drafted.token):
                own = TokenSource.DRAFTED
            token = DecodedToken(drafted.token, own, drafted.uncertainty, disclosed)
            self._committed.append(token)
        del self._ahead[: len(block)]

    def _settle(
        self, emotion: str, block: Sequence[_Drafted], source: TokenSource, *, disclosed: bool
    ) -> None:
        """Draft the question ``block`` again so that it states ``emotion``, in the device's own
        words, and commit it. What was ``disclosed`` of the block stays marked."""
        self._session, self._is_settled = self._start(emotion), True
        self._ahead.clear()
        question, before = self._next_block(), [drafted.token for drafted in block]
        now = [drafted.token for drafted in question]
        pairs = zip(now, before, strict=False)
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        for place, token in enumerate(now):
            states = self._rules.states_value(token)
            has_replaced = disclosed and place == min(same, len(now) - 1) and same < len(before)
            self._committed.append(
                DecodedToken(
                    token,
                    source if states else TokenSource.DRAFTED,
                    None,
                    disclosed=disclosed and place < same,
                    replaced=tuple(before[same:]) if has_replaced else (),
                )
            )
        del self._ahead[: len(now)]
        self._num_verified = len(self._committed)

    def _escalation(self, block: Sequence[_Drafted], disclosure: Disclosure) -> Escalation:
        start = len(self._committed)
        fault = disclosure_fault(disclosure, self._rules.verification)
        if fault is not None:
            raise ConfigError(f"the policy escalates with disclosure = {disclosure}: {fault}")
        states = {start + index: drafted.state for index, drafted in enumerate(block)}
        if disclosure is Disclosure.TOKENS:
            states = {}
        elif disclosure in {Disclosure.SUMMARY, Disclosure.DISTRIBUTIONS}:
            summary = None if 0 in self._disclosed_states else self._summary
            states = {} if summary is None else {0: summary}
        elif disclosure is Disclosure.ALL_STATES:
            states |= self._states
        positions = tuple(sorted(states))
        rows = np.zeros((len(positions), block[0].state.size), dtype=np.float32)
        for row, position in enumerate(positions):
            rows[row] = states[position]
        return Escalation(
            disclosure=disclosure,
            keep=self._num_verified,
            prefix=tuple(token.token for token in self._committed[self._num_verified :]),
            tokens=tuple(drafted.token for drafted in block),
            state_positions=positions,
            states=rows,
            slot=self._rules.slot,
            continue_to=self._rules.continue_to,
            draft_weights=b"".join(drafted.draft_weights for drafted in block),
        )

    def _mark_disclosed(self, flight: _InFlight) -> None:
        """Count a block that was sent and mark the committed tokens that were sent with it."""
        escalation, start = flight.escalation, len(self._committed)
        self._num_blocks += 1
        self._num_escalated += len(flight.block)
        self._disclosed_tokens |= set(range(escalation.keep, start + len(flight.block)))
        self._disclosed_states |= set(escalation.state_positions)
        self._has_sent_draft_weights |= bool(escalation.draft_weights)
        for index in range(escalation.keep, start):
            token = self._committed[index]
            self._committed[index] = DecodedToken(
                token.token, token.source, token.uncertainty, disclosed=True
            )

    def _counts(self) -> DecodingCounts:
        return DecodingCounts(
            num_blocks=self._num_blocks,
            num_tokens=self._num_escalated,
            num_drafted_tokens=self._num_drafted,
            num_disclosed_tokens=len(self._disclosed_tokens),
            num_disclosed_states=len(self._disclosed_states),
        )

    def _flight(self) -> _InFlight:
        assert self._in_flight is not None, f"no block is in flight: {self.state}"  # noqa: S101
        return self._in_flight
