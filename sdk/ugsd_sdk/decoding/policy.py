"""Policies: whether a block is kept as drafted or escalated, and with which disclosure.

A policy is called once per block, in order, with the drafted block and the remaining budget. The
egress enforces the caps afterwards, so a policy may ignore the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.decoding.budget_price import Question, Quote

__all__ = [
    "AlwaysEscalate",
    "BlockView",
    "BudgetView",
    "EnrolmentGuard",
    "Escalate",
    "GainPolicy",
    "KeepLocal",
    "NeverEscalate",
    "Policy",
    "UncertaintyPolicy",
]


@dataclass(frozen=True)
class BlockView:
    """A drafted block as a policy sees it."""

    start: int
    """Position of its first token."""
    tokens: Sequence[int]
    """Its tokens, but for the one whose value was drawn (``verification = speculative``): a
    decision that depended on the draw would skew the distribution of the captions."""
    uncertainties: Sequence[float | None]
    """One per token of the block, drawn or not; a larger value is less certain. ``None`` for
    wording, which no verifier judges; at least one token is judged."""
    verifier_has_summary: bool
    """Whether the verifier already has this caption's state of position 0."""
    num_unknown_before: int = 0
    """Tokens before it that the verifier does not know, and that are sent with it."""
    gain: float | None = None
    """By how much asking raises the probability that the emotion is right, -1 to 1; ``None`` for a
    block of tokens, or if nothing predicts it."""

    @property
    def uncertainty(self) -> float:
        """The highest uncertainty of the block's tokens."""
        return max(one for one in self.uncertainties if one is not None)


class BudgetView:
    """The remaining budget, read from the ledger only if a policy uses it."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, float]] = dict,
        quote: Callable[[Question], Quote | None] = lambda _: None,
    ) -> None:
        self._read = read
        self._quote = quote

    @cached_property
    def remaining(self) -> Mapping[str, float]:
        """The remaining amount of each cap by name; caps that are not set are missing."""
        return self._read()

    def quote(self, question: Question) -> Quote | None:
        """Return the price of a question's cost; ``None`` if budgets are not paced, or if the
        ledger cannot be read. The question counts as one of the user's from now on."""
        return self._quote(question)


@dataclass(frozen=True)
class KeepLocal:
    """The decision to keep the block as drafted and send nothing."""

    reason: Reason | ReasonCode | str = field(default=ReasonCode.POLICY_COMMITS, compare=False)
    """Why; an application's policy may give a text."""


@dataclass(frozen=True)
class Escalate:
    """The decision to send the block to the verifier."""

    disclosure: Disclosure
    tokens: int | None = None
    """How many of its first tokens to send; the others stay drafts. ``None`` sends all, and so does
    a question about a slot."""
    reason: Reason | ReasonCode | str = field(default=ReasonCode.POLICY_ESCALATES, compare=False)
    """Why; an application's policy may give a text."""


class Policy(Protocol):
    """Decides for each block whether it is escalated."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate: ...


@dataclass(frozen=True)
class UncertaintyPolicy:
    """Escalates a block up to its first token whose uncertainty reaches ``threshold``.

    If the verifier rejects that token, it cannot use the drafted tokens after it. A question about
    a slot is sent whole in any case, and so is a block without a state, since the verifier does not
    go on from it.
    """

    threshold: float
    disclosure: Disclosure = Disclosure.SUMMARY
    whole_block: bool = False
    """Send the whole block anyway, as the paper does."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        for number, uncertainty in enumerate(block.uncertainties, 1):
            if uncertainty is not None and uncertainty >= self.threshold:
                whole = self.whole_block or self.disclosure is Disclosure.TOKENS
                why = self._reason(ReasonCode.ABOVE_THRESHOLD, uncertainty)
                return Escalate(self.disclosure, None if whole else number, why)
        return KeepLocal(self._reason(ReasonCode.BELOW_THRESHOLD, block.uncertainty))

    def _reason(self, code: ReasonCode, uncertainty: float) -> Reason:
        return Reason(code=code, value=uncertainty, threshold=self.threshold)


@dataclass(frozen=True)
class GainPolicy:
    """Asks where the expected gain exceeds ``min_gain``, -1 to 1.

    Without a state a verifier has nothing to judge a slot by, so there is no gain. A block without
    an expected gain is left to ``otherwise``.
    """

    otherwise: Policy
    min_gain: float = 0.0
    disclosure: Disclosure = Disclosure.SUMMARY

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        if block.gain is None:
            return self.otherwise(block, budget)
        gain = 0.0 if self.disclosure is Disclosure.TOKENS else block.gain
        pays = gain > self.min_gain
        code = ReasonCode.GAIN_EXPECTED if pays else ReasonCode.NO_GAIN_EXPECTED
        reason = Reason(code=code, value=gain, threshold=self.min_gain)
        return Escalate(self.disclosure, reason=reason) if pays else KeepLocal(reason)


@dataclass(frozen=True)
class AlwaysEscalate:
    """Escalates every block, which gives the upper bound of what verification can improve."""

    disclosure: Disclosure = Disclosure.SUMMARY

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return Escalate(self.disclosure)


@dataclass(frozen=True)
class NeverEscalate:
    """Escalates nothing: the drafter alone."""

    reason: Reason | ReasonCode | str = ReasonCode.NEVER_ESCALATES

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return KeepLocal(self.reason)


class EnrolmentGuard:
    """Keeps blocks for which ``policy`` would send a state, for a clip without an enrolled profile.

    A state without a speaker profile could identify the speaker. ``reason`` says why it is missing.
    Each caption needs a new guard.
    """

    def __init__(self, policy: Policy, reason: ReasonCode = ReasonCode.NOT_ENROLLED) -> None:
        self._policy = policy
        self.reason = reason

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        decision = self._policy(block, budget)
        if isinstance(decision, KeepLocal) or decision.disclosure is Disclosure.TOKENS:
            return decision
        return KeepLocal(self.reason)
