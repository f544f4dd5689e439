"""How fast a device drafts and its verifier answers, and what follows from both.

A question is worth its answer only if that comes in time, and a device that drafts slowly may be
served sooner by a verifier that goes on. Both are decided from measured times, which are those of
the device's own monotonic clock and never sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal, Policy

__all__ = ["Pace", "TimelyPolicy", "best_block_tokens"]

_TYPICAL_TOKENS = 24
"""Tokens of a caption, until one was made."""
_FIRST_ACCEPTANCE = 0.8
"""Share of drafted tokens that a verifier accepts, until one has judged some."""
_WEIGHT = 1 / 8
_FORGOTTEN_AFTER_S = 60.0
"""How long a measured answer counts. Without a question nothing measures another one, so one slow
answer would otherwise be the last."""


class Pace:
    """The measured times of one user's captions, in seconds. Threads may share it."""

    def __init__(
        self,
        round_trip_s: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``round_trip_s`` returns the round trip to the verifier as it was measured without a
        question; ``None`` if it is not known."""
        self._round_trip_s, self._clock = round_trip_s, clock
        self._lock = Lock()
        """Guards all attributes below; nobody waits or measures while holding it."""
        self._answered_at_s = 0.0
        """When the last answer was recorded."""
        self._step: SmoothedTime | None = None
        self._answer: SmoothedTime | None = None
        self._service: SmoothedTime | None = None
        """What a verifier takes in addition to the round trip."""
        self.caption_tokens = float(_TYPICAL_TOKENS)
        """Smoothed number of tokens of a caption."""
        self.acceptance = _FIRST_ACCEPTANCE
        """Smoothed share of the offered tokens that the verifier accepts, 0 to 1."""
        self._continued_share: float | None = None
        """Smoothed share of the remaining tokens that a verifier that may end a caption writes."""

    @property
    def step_s(self) -> float | None:
        """Time to draft one token; ``None`` before the first."""
        step = self._step
        return None if step is None else step.expected_s

    @property
    def answer_s(self) -> float | None:
        """Expected time from sending a question to its answer: the round trip as it is now, and
        what the verifier took in addition in the last minute. ``None`` if neither was measured."""
        round_trip_s = self._round_trip_s()
        with self._lock:
            is_known = self._clock() - self._answered_at_s < _FORGOTTEN_AFTER_S
            answer, service = (self._answer, self._service) if is_known else (None, None)
        if round_trip_s is None:
            return None if answer is None else answer.expected_s
        return round_trip_s + (0.0 if service is None else service.expected_s)

    def record_drafting(self, tokens: int, seconds: float) -> None:
        """Record that drafting ``tokens``, at least one, took ``seconds``."""
        with self._lock:
            self._step = _with_sample(self._step, seconds / tokens)

    def record_answer(self, seconds: float) -> None:
        """Record that an answer came ``seconds`` after its question."""
        round_trip_s = self._round_trip_s()
        with self._lock:
            now_s = self._clock()
            if now_s - self._answered_at_s >= _FORGOTTEN_AFTER_S:
                self._answer = self._service = None
            self._answered_at_s = now_s
            self._answer = _with_sample(self._answer, seconds)
            if round_trip_s is not None:
                self._service = _with_sample(self._service, max(seconds - round_trip_s, 0.0))

    def record_verdict(self, accepted: int, offered: int) -> None:
        """Record that the verifier accepted so many of the ``offered`` tokens, at least one."""
        with self._lock:
            self.acceptance += _WEIGHT * (accepted / offered - self.acceptance)

    def record_continuation(self, tokens: int, start: int) -> None:
        """Record that a verifier that may end the caption went on from position ``start`` with so
        many tokens."""
        with self._lock:
            share = min(tokens / max(self._tokens_remaining(start), 1.0), 1.0)
            before = self._continued_share
            self._continued_share = share if before is None else before + _WEIGHT * (share - before)

    def record_caption(self, tokens: int) -> None:
        """Record that a caption has ``tokens``."""
        with self._lock:
            self.caption_tokens += _WEIGHT * (tokens - self.caption_tokens)

    def delay_s(self, start: int) -> float:
        """Return by how much a question about a block that begins at ``start`` is expected to delay
        the caption, if its draft is accepted: drafting goes on while it is in flight. An unknown
        time counts as 0."""
        return max(
            (self.answer_s or 0.0) - self._tokens_remaining(start) * (self.step_s or 0.0), 0.0
        )

    def saving_s(self, start: int) -> float:
        """Return by how much sooner the caption is expected to end if the verifier goes on from
        ``start``, as far as it usually does; negative if it is later. An unknown time
        counts as 0."""
        continued_share = self._continued_share
        share = 1.0 if continued_share is None else continued_share
        written = share * self._tokens_remaining(start)
        return written * (self.step_s or 0.0) - (self.answer_s or 0.0)

    def _tokens_remaining(self, start: int) -> float:
        return max(self.caption_tokens - start, 0.0)

    def block_tokens(self, longest: int) -> int:
        """Return the best length of a block of tokens, 1 to ``longest``."""
        step_s, answer_s = self.step_s, self.answer_s
        if step_s is None or answer_s is None:
            return longest
        return best_block_tokens(self.acceptance, step_s=step_s, answer_s=answer_s, longest=longest)


def best_block_tokens(acceptance: float, *, step_s: float, answer_s: float, longest: int) -> int:
    """Return the number of tokens k, 1 to ``longest``, that yields the most tokens a second.

    A round of k drafted tokens takes k * ``step_s`` + ``answer_s`` and yields those that are
    accepted, each with probability ``acceptance``, and one of the verifier's own:
    (1 - a^(k+1)) / (1 - a) (Leviathan et al. 2023, equation 1). The best k grows with the logarithm
    of the delay, as UCB-SpecStop (arXiv 2606.20591) measures it.
    """

    def tokens_per_s(k: int) -> float:
        expected = sum(acceptance**i for i in range(k + 1))
        return expected / max(k * step_s + answer_s, 1e-12)

    return max(range(1, longest + 1), key=tokens_per_s)


@dataclass(frozen=True)
class TimelyPolicy:
    """Asks as ``policy`` does where the answer is expected in time, and also where a verifier that
    goes on is expected to end the caption sooner."""

    policy: Policy
    pace: Pace
    remaining_s: Callable[[], float]
    """Returns how long the caption may still wait for an answer."""
    max_delay_s: float | None = None
    """Longest expected delay of the caption for which a question is asked; ``None``: any."""
    min_saving_s: float | None = None
    """Ask also, whatever ``policy`` says, where at least this is expected to be saved, above 0;
    ``None``: nowhere. Only for captions that the verifier may end."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """What is sent with a question that is asked to save time."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        decision = self._decision(block, budget)
        if isinstance(decision, KeepLocal):
            return decision
        answer_s, remaining_s = self.pace.answer_s, self.remaining_s()
        if answer_s is not None and answer_s > remaining_s:
            return KeepLocal(_too_late(answer_s, remaining_s))
        delay_s = self.pace.delay_s(block.start)
        if self.max_delay_s is not None and delay_s > self.max_delay_s:
            return KeepLocal(_too_late(delay_s, self.max_delay_s))
        return decision

    def _decision(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        if self.min_saving_s is not None:
            saving_s = self.pace.saving_s(block.start)
            if saving_s >= self.min_saving_s:
                reason = Reason(
                    code=ReasonCode.SAVES_TIME, value=saving_s, threshold=self.min_saving_s
                )
                return Escalate(self.disclosure, tokens=1, reason=reason)
        return self.policy(block, budget)


def _with_sample(known: SmoothedTime | None, sample_s: float) -> SmoothedTime:
    return SmoothedTime.first(sample_s) if known is None else known.after(sample_s)


def _too_late(expected_s: float, allowed_s: float) -> Reason:
    return Reason(code=ReasonCode.ANSWER_TOO_LATE, value=expected_s, threshold=allowed_s)
