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
contains committed + ahead, and its KV cache is cropped. A new session begins at most once: when a
question is worded again, for a corrected emotion, or for a drawn one that does not fit its words. A
block's prefix is only those committed tokens that the verifier does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from math import isnan
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import ContinueTo, Verdict
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason

from ugsd_sdk.decoding.block_history import BlockHistory
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.committed_tokens import CommittedTokens, DraftedToken
from ugsd_sdk.decoding.escalation_builder import build_escalation
from ugsd_sdk.decoding.events import (
    BlockOutcome,
    EscalationRequested,
    Event,
    Finished,
    Outcome,
    TokenSource,
    VerdictAwaited,
)
from ugsd_sdk.decoding.pace import Pace
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal, Policy
from ugsd_sdk.decoding.repetition import greedy_token
from ugsd_sdk.decoding.uncertainty import ExpectedGain, Uncertainty
from ugsd_sdk.decoding.verdict_check import checked_tokens
from ugsd_sdk.drafter import DraftSession
from ugsd_sdk.errors import ModelError

if TYPE_CHECKING:
    from ugsd_privacy.egress import Escalation

__all__ = ["Decoder", "DecoderState"]


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
class _InFlight:
    block: Sequence[DraftedToken]
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
        expected_gain: ExpectedGain | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = monotonic,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """``start`` returns a new, empty draft of the caption, which only the decoder uses, and
        which names the given emotion if there is one. ``piece`` returns a token's text, as
        :meth:`~ugsd_sdk.drafter.Drafter.piece` does. Without ``rules`` all tokens may be asked
        about. ``expected_gain`` predicts the gain of a question about a slot. ``pace``
        records how fast tokens are drafted, by ``clock`` in seconds, and what is accepted.
        ``check`` is called before each token; what it raises ends the caption, and :meth:`abandon`
        comes next."""
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
        self._expected_gain = expected_gain if self._rules.by_slot else None
        self._pace, self._clock = pace or Pace(), clock
        self._check = check
        self._is_settled = False
        """Whether the emotion was given, so that there is nothing to ask."""
        self._vocabulary_size = 0
        self._committed = CommittedTokens()
        self._ahead: list[DraftedToken] = []
        self._history = BlockHistory()
        self._summary: NDArray[np.float32] | None = None
        """The state of position 0, once it was drafted."""
        self._in_flight: _InFlight | None = None
        self._disabled_reason: Reason | None = None
        """Why the rest is drafted without the verifier; ``None`` if it is not."""

    @property
    def state(self) -> DecoderState:
        """What the decoder waits for."""
        if self._in_flight is not None:
            return DecoderState.IN_FLIGHT
        return DecoderState.FINISHED if self._ended() else DecoderState.DRAFTING

    # -- what the driver calls

    def advance(self, has_answer: Callable[[], bool] = lambda: False) -> Event:
        """Draft blocks and apply the policy until the driver must act.

        While a block is in flight, drafting goes on to the caption's end or until ``has_answer``,
        which is called before each token: an accepted draft then costs only the longer of the two
        times, and a correction is applied as soon as the current token is drafted. Nothing is
        drafted while a verifier is to end the caption sooner, since that would be discarded.

        Raises :class:`ConfigError` if the policy asks for a disclosure that does not fit, and
        :class:`ModelError` if the drafter's numbers are no numbers.
        """
        if self._in_flight is not None:
            is_handed_over = self._in_flight.reason.code is ReasonCode.SAVES_TIME
            while not is_handed_over and not self._session_ended() and not has_answer():
                self._draft(len(self._ahead) + 1)
            return VerdictAwaited()
        while self.state is DecoderState.DRAFTING:
            block = self._next_block()
            if not block:
                self._commit_rest()
                continue
            decision = self._decide(block)
            if isinstance(decision, KeepLocal):
                self._history.add_drafted(block)
                outcome = Outcome.VERIFIER_DISABLED if self._disabled_reason else Outcome.LOCAL
                reason = as_reason(decision.reason)
                self._history.add_outcome(len(self._committed), block, outcome, reason)
                self._commit(block, TokenSource.DRAFTED, disclosed=False)
                continue
            if decision.tokens is not None and not self._rules.by_slot:
                block = block[: max(1, decision.tokens)]
            self._history.add_drafted(block)
            summary = None if self._history.has_sent_summary else self._summary
            escalation = build_escalation(
                block, self._committed, decision.disclosure, self._rules, summary
            )
            self._in_flight = _InFlight(block, escalation, as_reason(decision.reason))
            return EscalationRequested(escalation)
        self._pace.record_caption(len(self._committed))
        return Finished(
            tuple(self._committed.tokens),
            self._history.counts(),
            self.blocks,
            has_sent_draft_weights=self._history.has_sent_draft_weights,
        )

    def draft_to_end(self) -> None:
        """Draft to the caption's end, in any state. In constant shape a frame is sent only after
        that, so that its time does not reveal which block was asked about."""
        self._draft(self._max_tokens)

    def receive_verdict(self, verdict: Verdict) -> None:
        """Apply the verifier's answer to the block in flight.

        A continuation (only verifiers of tokens write one) beyond the longest caption of this
        device is cut, since the verifier may allow longer captions. Raises
        :class:`VerifierMisbehaved` for an answer that does not match the block, which stays in
        flight: call :meth:`verdict_missed` next.
        """
        flight, block = self._flight(), self._flight().block
        written = checked_tokens(
            verdict,
            committed=self._committed.ids,
            block=[drafted.token for drafted in block],
            rules=self._rules,
            eos=self._eos,
            vocabulary_size=self._vocabulary_size,
            piece=self._piece,
            has_state=bool(flight.escalation.state_positions),
        )
        del written[self._max_tokens - len(self._committed) - verdict.accepted :]
        self._pace.record_verdict(verdict.accepted, len(block))
        if self._rules.continue_to is ContinueTo.CAPTION:
            self._pace.record_continuation(len(verdict.continuation), verdict.start)
        is_judged = verdict.correction is not None or self._can_be_judged(flight)
        self._land(
            replace(flight.reason, accepted=verdict.accepted, offered=len(block))
            if is_judged
            else replace(flight.reason, failure=Reason(code=ReasonCode.NOT_JUDGED))
        )
        if self._rules.by_slot and written:
            self._reword(block, written, TokenSource.CORRECTED, disclosed=True)
            return
        accepted, rejected = block[: verdict.accepted], block[verdict.accepted :]
        source = TokenSource.VERIFIED if self._can_be_judged(flight) else TokenSource.DRAFTED
        self._commit(accepted, source, disclosed=True)
        self._committed.verifier_knows_all()
        if not written:  # the verifier would have ended the clause: the draft goes on
            self._commit(rejected, TokenSource.DRAFTED, disclosed=True)
            return
        self._adopt(written)
        self._committed.add_written(written, None if verdict.correction is None else rejected)

    def escalation_blocked(self, why: Reason | ReasonCode = ReasonCode.BLOCKED) -> None:
        """Keep the draft of the block, which was not sent, and disable the verifier."""
        flight, block = self._flight(), self._flight().block
        self._in_flight = None
        # What the question was worth stays known, as it shows the demand.
        worth, price, cost = flight.reason.worth, flight.reason.price, flight.reason.cost
        reason = replace(as_reason(why), worth=worth, price=price, cost=cost)
        self._history.add_outcome(len(self._committed), block, Outcome.BLOCKED, reason)
        self._disabled_reason = self._after(why)
        self._commit(block, TokenSource.DRAFTED, disclosed=False)

    def verdict_missed(self, why: Reason | ReasonCode = ReasonCode.NO_VERDICT) -> None:
        """Keep the draft of the block, which was sent but has no usable verdict, and disable the
        verifier."""
        flight = self._flight()
        self._land(replace(flight.reason, failure=as_reason(why)))
        self._disabled_reason = self._after(why)
        self._commit(flight.block, TokenSource.DRAFTED, disclosed=True)

    def abandon(self, why: ReasonCode, *, was_sent: bool = True) -> None:
        """Note that the caption ends without its text because of ``why``. A block in flight has no
        verdict, or was not sent. Nothing may be called afterwards but this, and :attr:`blocks`."""
        flight = self._in_flight
        if flight is None:
            return
        if was_sent:
            self._land(replace(flight.reason, failure=Reason(code=why)))
        else:
            self._in_flight = None
            start, reason = len(self._committed), Reason(code=why)
            self._history.add_outcome(start, flight.block, Outcome.BLOCKED, reason)

    @property
    def blocks(self) -> tuple[BlockOutcome, ...]:
        """The outcomes of all blocks so far."""
        return tuple(self._history.outcomes)

    def _flight(self) -> _InFlight:
        assert self._in_flight is not None, f"no block is in flight: {self.state}"  # noqa: S101
        return self._in_flight

    def _land(self, reason: Reason) -> None:
        """Note that the block in flight was sent, and that nothing more is awaited for it."""
        flight = self._flight()
        self._in_flight = None
        self._history.add_sent(flight.escalation)
        self._history.add_outcome(len(self._committed), flight.block, Outcome.SENT, reason)
        self._committed.mark_disclosed(flight.escalation.keep)

    def _can_be_judged(self, flight: _InFlight) -> bool:
        """Return whether acceptance says anything. Without a state a verifier cannot judge what
        names an emotion, and with noise it hardly ever can; then it accepts any. A value that was
        drawn is judged by a draw in any case."""
        has_state = bool(flight.escalation.state_positions) or self._history.has_sent_summary
        is_clear = not self._rules.has_noise or self._rules.value_draw is not None
        return not self._rules.has_slots or (has_state and is_clear)

    def _after(self, why: Reason | ReasonCode) -> Reason:
        start = len(self._committed)
        return Reason(code=ReasonCode.AFTER_BLOCK, start=start, failure=as_reason(why))

    # -- drafting

    def _next_block(self) -> Sequence[DraftedToken]:
        """Draft the next block that a verifier may be asked about; empty at the end."""
        committed = self._committed.ids
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
        self._history.add_drafted(self._ahead)
        reason = Reason(code=ReasonCode.MEASURED)
        self._history.add_outcome(len(self._committed), self._ahead, Outcome.LOCAL, reason)
        self._commit(tuple(self._ahead), TokenSource.DRAFTED, disclosed=False)

    def _draft(self, count: int) -> None:
        """Draft until ``count`` tokens are ahead or the caption ends."""
        started_s, before = self._clock(), len(self._ahead)
        while len(self._ahead) < count and not self._session_ended():
            self._check()
            prediction = self._session.predict()
            self._vocabulary_size = prediction.logits.size
            token = greedy_token(prediction.choices, self._session.tokens, eos=self._eos)
            score, gain, draft_weights = None, None, b""
            if not self._is_settled and self._rules.is_judged(token, self._session.tokens):
                score = float(self._uncertainty(prediction.logits, self._ood_score))
                if isnan(score):  # it would reach no threshold, and so never be asked about
                    raise ModelError("the uncertainty of a token is not a number: mend its score")
                if self._expected_gain is not None:
                    gain = self._expected_gain(prediction.logits, self._ood_score)
                    if gain is not None and isnan(gain):
                        raise ModelError("the expected gain is not a number: fit it again")
                if self._rules.value_draw is not None:
                    drawn = self._rules.value_draw(prediction.logits)
                    token, draft_weights = drawn.token, drawn.draft_weights
            state = np.array(prediction.state, dtype=np.float32)
            if not np.isfinite(state).all():
                raise ModelError("the drafter's state is not finite: reinstall its weights")
            if self._summary is None:
                self._summary = state
            self._ahead.append(DraftedToken(token, score, state, gain, draft_weights))
            self._session.append([token])
        if len(self._ahead) > before:
            self._pace.record_drafting(len(self._ahead) - before, self._clock() - started_s)

    def _session_ended(self) -> bool:
        tokens = self._session.tokens
        return len(tokens) >= self._max_tokens or (bool(tokens) and tokens[-1] == self._eos)

    def _ended(self) -> bool:
        committed = self._committed.tokens
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

    # -- deciding and committing

    def _decide(self, block: Sequence[DraftedToken]) -> KeepLocal | Escalate:
        if self._disabled_reason:
            return KeepLocal(self._disabled_reason)
        view = BlockView(
            start=len(self._committed),
            # A policy that knew the value would skew the distribution of what is asked.
            tokens=tuple(one.token for one in takewhile(lambda one: not one.draft_weights, block)),
            uncertainties=tuple(one.uncertainty for one in block),
            verifier_has_summary=self._history.has_sent_summary,
            gain=next((one.gain for one in block if one.gain is not None), None),
            num_unknown_before=len(self._committed) - self._committed.num_at_verifier,
        )
        return self._policy(view, self._budget())

    def _commit(
        self, block: Sequence[DraftedToken], source: TokenSource, *, disclosed: bool
    ) -> None:
        """Move ``block``, the first tokens ahead, to the committed tokens. A question is worded
        again if its value was drawn and does not fit its words."""
        tokens = [one.token for one in block]
        drawn = self._rules.emotion_of(tokens) if any(one.draft_weights for one in block) else None
        if drawn and not self._rules.goes_together(tokens, drawn):
            self._reword(block, tokens, source, disclosed=disclosed)
            return
        self._committed.add_drafted(block, self._sources(block, source), disclosed=disclosed)
        del self._ahead[: len(block)]

    def _reword(
        self,
        block: Sequence[DraftedToken],
        stating: Sequence[int],
        source: TokenSource,
        *,
        disclosed: bool,
    ) -> None:
        """Draft the question ``block`` again so that it states the emotion that the tokens
        ``stating`` state, in the device's own words, and commit it."""
        self._session, self._is_settled = self._start(self._rules.emotion_of(stating)), True
        self._ahead.clear()
        question = self._next_block()
        self._committed.add_reworded(
            question, self._sources(question, source), before=block, disclosed=disclosed
        )
        del self._ahead[: len(question)]

    def _sources(self, block: Sequence[DraftedToken], source: TokenSource) -> Sequence[TokenSource]:
        """Return the source of each token of ``block``, the next to be committed. Of a question,
        only the tokens that state the value have the given one: the others are wording."""
        is_question = self._rules.by_slot and not self._committed.tokens
        return [
            TokenSource.DRAFTED
            if is_question and not self._rules.states_value(one.token)
            else source
            for one in block
        ]
