"""Uncertainty-guided speculative decoding of one caption: a state machine without I/O.

The driver calls :meth:`Decoder.advance` and does what the returned event says::

    DRAFTING ── advance() ─────────────────────────────> Finished
       ^  └──── advance() ──> EscalationDue ──> IN FLIGHT
       │                                           │ advance() ──> VerdictDue (drafts one block on)
       ├── verdict(v)      accepted, corrected ────┤
       ├── withheld(why)   nothing left; alone ────┤
       └── unanswered(why) it left in vain; alone ─┘

*Alone* means that the rest of the caption is drafted without the verifier. One refusal suffices:
whatever cap or deadline it was, a later block of the same caption would need at least as much,
since every token that the verifier has not seen goes with it as context.

What is held where: ``committed`` tokens are final. ``ahead`` are drafted tokens beyond them. The
draft session always holds committed + ahead, and its KV cache is cropped, never rebuilt. The
verifier holds the first ``held`` committed tokens: all that it has accepted or written, so a block
carries only the committed tokens from ``held`` on as its prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Disclosure, Verdict

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
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal, Policy
from ugsd_sdk.decoding.uncertainty import Uncertainty
from ugsd_sdk.drafter import DraftSession
from ugsd_sdk.errors import ModelError, VerifierMisbehaved

__all__ = ["BLOCK_TOKENS", "Decoder"]

BLOCK_TOKENS = 5
"""k of the paper, section III."""


@dataclass(frozen=True)
class _Drafted:
    token: int
    uncertainty: float
    state: NDArray[np.float32]


@dataclass(frozen=True)
class _InFlight:
    block: Sequence[_Drafted]
    escalation: Escalation
    reason: str
    """Why the policy sends it."""


class Decoder:
    """Decodes one caption. See the module for the protocol between it and its driver."""

    def __init__(
        self,
        session: DraftSession,
        *,
        eos: int,
        max_tokens: int,
        ood_score: float,
        uncertainty: Uncertainty,
        policy: Policy,
        piece: Callable[[int], str],
        budget: Callable[[], BudgetView] = BudgetView,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        """``session`` is empty and owned by the decoder from now on. ``piece`` gives a token's
        text, as :meth:`~ugsd_sdk.drafter.Drafter.piece` does."""
        self._session = session
        self._eos = eos
        self._max_tokens = max_tokens
        self._novelty = ood_score
        self._uncertainty = uncertainty
        self._policy = policy
        self._piece = piece
        self._budget = budget
        self._block_tokens = block_tokens
        self._vocabulary_size = 0
        self._committed: list[DecodedToken] = []
        self._states: dict[int, NDArray[np.float32]] = {}
        """States of the committed positions from ``held`` on; the device drafted all of these."""
        self._summary: NDArray[np.float32] | None = None
        self._ahead: list[_Drafted] = []
        self._held = 0
        self._in_flight: _InFlight | None = None
        self._alone = ""
        """Why the rest is drafted without the verifier, if it is."""
        self._outcomes: list[BlockOutcome] = []
        self._blocks = self._escalated = self._judged = 0
        self._left_tokens: set[int] = set()
        self._left_states: set[int] = set()

    # -- what the driver calls

    def advance(self) -> Event:
        """Draft and judge blocks until something is needed from the driver."""
        if self._in_flight is not None:
            self._draft(len(self._in_flight.block) + self._block_tokens)
            return VerdictAwaited()
        while not self._ended():
            self._draft(self._block_tokens)
            block = self._ahead[: self._block_tokens]
            decision = self._judge(block)
            if isinstance(decision, KeepLocal):
                self._judged += len(block)
                self._note(
                    block,
                    Outcome.VERIFIER_DISABLED if self._alone else Outcome.LOCAL,
                    decision.reason,
                )
                self._commit(block, TokenSource.DRAFTED, left=False)
                continue
            if decision.tokens is not None:
                block = block[: max(1, decision.tokens)]
            self._judged += len(block)
            escalation = self._escalation(block, decision.disclosure)
            self._in_flight = _InFlight(block, escalation, decision.reason)
            return EscalationRequested(escalation)
        return Finished(tuple(self._committed), self._tally(), tuple(self._outcomes))

    def draft_to_end(self) -> None:
        """Draft on to the caption's end, in any state. Why: in constant shape what leaves does so
        after the whole draft, whichever block of it was doubtful."""
        self._draft(self._max_tokens)

    def receive_verdict(self, verdict: Verdict) -> None:
        """Apply the verifier's answer to the block in flight.

        A continuation past the longest caption of this device is cut, for the verifier may hold
        longer ones. Raises :class:`VerifierMisbehaved` for an answer that does not fit the block;
        the block stays in flight, so call :meth:`unanswered` next.
        """
        flight = self._flight()
        block = flight.block
        self._check(verdict, block)
        written = [] if verdict.correction is None else [verdict.correction]
        written += verdict.continuation
        del written[self._max_tokens - len(self._committed) - verdict.accepted :]
        self._mark_disclosed(flight)
        self._in_flight = None
        self._note(
            block, Outcome.SENT, f"{flight.reason}; {verdict.accepted} of {len(block)} accepted"
        )
        self._commit(block[: verdict.accepted], TokenSource.VERIFIED, left=True)
        self._adopt(written)
        rejected = tuple(drafted.token for drafted in block[verdict.accepted :])
        for index, token in enumerate(written):
            corrects = index == 0 and verdict.correction is not None
            source = TokenSource.CORRECTED if corrects else TokenSource.CONTINUED
            replaced = rejected if corrects else ()
            self._committed.append(
                DecodedToken(token, source, None, disclosed=False, replaced=replaced)
            )
        self._held = len(self._committed)
        self._states.clear()

    def escalation_blocked(self, why: str = "refused") -> None:
        """The block in flight did not leave: keep the draft, and go on alone."""
        block = self._flight().block
        self._in_flight = None
        self._note(block, Outcome.BLOCKED, why)
        self._alone = f"after the block at {len(self._committed)}: {why}"
        self._commit(block, TokenSource.DRAFTED, left=False)

    def verdict_missed(self, why: str = "no verdict") -> None:
        """The block in flight left, but no verdict will be used: keep the draft, go on alone."""
        flight = self._flight()
        self._mark_disclosed(flight)
        self._in_flight = None
        self._note(flight.block, Outcome.SENT, f"{flight.reason}; in vain: {why}")
        self._alone = f"after the block at {len(self._committed)}: {why}"
        self._commit(flight.block, TokenSource.DRAFTED, left=True)

    # -- drafting

    def _draft(self, count: int) -> None:
        """Draft until ``count`` tokens are ahead, or the caption ends."""
        while len(self._ahead) < count and not self._session_ended():
            prediction = self._session.predict()
            self._vocabulary_size = prediction.logits.size
            score = self._uncertainty(prediction.logits, self._novelty)
            token = int(np.argmax(prediction.logits))
            state = np.array(prediction.state, dtype=np.float32)
            if not np.isfinite(state).all():
                raise ModelError("the drafter's state is not finite: reinstall its weights")
            if self._summary is None:
                self._summary = state
            self._ahead.append(_Drafted(token, score, state))
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
        """Put the verifier's tokens in the session, reusing what was drafted ahead and agrees."""
        agreed = 0
        for token, drafted in zip(written, self._ahead, strict=False):
            if token != drafted.token:
                break
            agreed += 1
        if agreed == len(written):
            del self._ahead[:agreed]
            return
        self._ahead.clear()
        self._session.crop(len(self._committed) + agreed)
        self._session.append(written[agreed:])

    # -- committing and disclosing

    def _judge(self, block: Sequence[_Drafted]) -> KeepLocal | Escalate:
        if self._alone:
            return KeepLocal(self._alone)
        view = BlockView(
            start=len(self._committed),
            tokens=tuple(drafted.token for drafted in block),
            uncertainties=tuple(drafted.uncertainty for drafted in block),
            verifier_has_summary=0 in self._left_states,
        )
        return self._policy(view, self._budget())

    def _note(self, block: Sequence[_Drafted], outcome: Outcome, reason: str) -> None:
        """Of the block that is about to be committed, or rejected."""
        unsure = float(max(drafted.uncertainty for drafted in block))
        start = len(self._committed)
        self._outcomes.append(BlockOutcome(start, len(block), unsure, outcome, reason))

    def _commit(self, block: Sequence[_Drafted], source: TokenSource, *, left: bool) -> None:
        """Move ``block``, the first tokens ahead, to the committed ones."""
        for drafted in block:
            self._states[len(self._committed)] = drafted.state
            self._committed.append(DecodedToken(drafted.token, source, drafted.uncertainty, left))
        del self._ahead[: len(block)]

    def _escalation(self, block: Sequence[_Drafted], disclosure: Disclosure) -> Escalation:
        start = len(self._committed)
        states = {start + index: drafted.state for index, drafted in enumerate(block)}
        if disclosure is Disclosure.TOKENS:
            states = {}
        elif disclosure is Disclosure.SUMMARY:
            summary = None if 0 in self._left_states else self._summary
            states = {} if summary is None else {0: summary}
        elif disclosure is Disclosure.ALL_STATES:
            states |= self._states
        positions = tuple(sorted(states))
        rows = np.zeros((len(positions), block[0].state.size), dtype=np.float32)
        for row, position in enumerate(positions):
            rows[row] = states[position]
        return Escalation(
            disclosure=disclosure,
            keep=self._held,
            prefix=tuple(token.token for token in self._committed[self._held :]),
            tokens=tuple(drafted.token for drafted in block),
            state_positions=positions,
            states=rows,
        )

    def _mark_disclosed(self, flight: _InFlight) -> None:
        """Account for a block that left, and for the committed tokens that left with it."""
        escalation, start = flight.escalation, len(self._committed)
        self._blocks += 1
        self._escalated += len(flight.block)
        self._left_tokens |= set(range(escalation.keep, start + len(flight.block)))
        self._left_states |= set(escalation.state_positions)
        for index in range(escalation.keep, start):
            token = self._committed[index]
            self._committed[index] = DecodedToken(
                token.token, token.source, token.uncertainty, disclosed=True
            )

    def _tally(self) -> DecodingCounts:
        return DecodingCounts(
            num_blocks=self._blocks,
            num_tokens=self._escalated,
            num_drafted_tokens=self._judged,
            num_disclosed_tokens=len(self._left_tokens),
            num_disclosed_states=len(self._left_states),
        )

    # -- checking a verdict

    def _has_text(self, final: Sequence[int]) -> bool:
        """Whether a caption that ends with ``final``, after what is committed, has a letter or a
        digit."""
        tokens = [token.token for token in self._committed] + list(final)
        text = "".join(map(self._piece, tokens))
        return any(map(str.isalnum, text))

    def _flight(self) -> _InFlight:
        assert self._in_flight is not None, "no block is in flight"  # noqa: S101
        return self._in_flight

    def _check(self, verdict: Verdict, block: Sequence[_Drafted]) -> None:
        start, drafted = len(self._committed), [token.token for token in block]
        written = [] if verdict.correction is None else [verdict.correction]
        written += verdict.continuation
        final = drafted[: verdict.accepted] + written
        faults = {
            "it is about another block": verdict.start != start,
            "it accepts more than was sent": verdict.accepted > len(block),
            "it rejects a token without correcting it": (
                verdict.accepted < len(block) and verdict.correction is None
            ),
            "it corrects an accepted block": (
                verdict.accepted >= len(block) and verdict.correction is not None
            ),
            "it corrects a token to itself": (
                verdict.correction is not None
                and verdict.accepted < len(block)
                and verdict.correction == drafted[verdict.accepted]
            ),
            "it has a token out of vocabulary": any(t >= self._vocabulary_size for t in written),
            "it goes on after the end": self._eos in final[:-1],
            "it has a token without text": any(
                not self._piece(token) for token in written if token != self._eos
            ),
            "it leaves the caption without text": bool(written) and not self._has_text(final),
        }
        for fault, found in faults.items():
            if found:
                raise VerifierMisbehaved(f"the verdict does not fit: {fault}")
