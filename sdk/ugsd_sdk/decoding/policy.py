"""Whether a block is committed as drafted or escalated, and with how much disclosure.

A policy is called once per block, in order, with what was drafted and what the budget still
allows. The budget's caps are enforced behind it, so a policy may ignore them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Protocol

from ugsd_privacy.protocol.messages import Disclosure

__all__ = [
    "NOT_ENROLLED",
    "AlwaysEscalate",
    "BlockView",
    "BudgetView",
    "EnrolmentGuard",
    "Escalate",
    "KeepLocal",
    "NeverEscalate",
    "Policy",
    "RandomPolicy",
    "UncertaintyPolicy",
]

NOT_ENROLLED = "not acquainted with the voice"
"""Why a state of a voice that is not known yet stays here."""


@dataclass(frozen=True)
class BlockView:
    """A drafted block as a policy sees it."""

    start: int
    """Position of its first token."""
    tokens: Sequence[int]
    uncertainties: Sequence[float]
    """One per token; larger is less sure."""
    verifier_has_summary: bool
    """Whether the verifier already has this caption's state of position 0."""

    @property
    def uncertainty(self) -> float:
        """The block's: that of its least sure token."""
        return max(self.uncertainties)


class BudgetView:
    """What the budget still allows, read from the ledger only where a policy asks."""

    def __init__(self, read: Callable[[], Mapping[str, float]] = dict) -> None:
        self._read = read

    @cached_property
    def remaining(self) -> Mapping[str, float]:
        """What is left, by the name of the cap; a cap that is not set is not listed."""
        return self._read()


@dataclass(frozen=True)
class KeepLocal:
    """Keep the block as drafted; nothing leaves."""

    reason: str = field(default="the policy keeps it", compare=False)
    """Why, in words for the owner."""


@dataclass(frozen=True)
class Escalate:
    """Have the verifier check the block."""

    disclosure: Disclosure
    tokens: int | None = None
    """Only so many of its first tokens; the others stay here, as drafts. ``None`` for all."""
    reason: str = field(default="the policy sends it", compare=False)
    """Why, in words for the owner."""


class Policy(Protocol):
    """Decides per block."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate: ...


@dataclass(frozen=True)
class UncertaintyPolicy:
    """Escalates a block with a token that reaches ``threshold``, up to the first such token: where
    the verifier rejects that one, what the draft said next is of no use to it, and where not, it
    goes on by itself. Without a state it does not go on; then the whole block leaves at once."""

    threshold: float
    disclosure: Disclosure = Disclosure.SUMMARY
    whole_block: bool = False
    """Send the whole block all the same, as the paper does."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        for number, uncertainty in enumerate(block.uncertainties, 1):
            if uncertainty >= self.threshold:
                whole = self.whole_block or self.disclosure is Disclosure.TOKENS
                why = f"unsure: {uncertainty:.3g} reaches {self.threshold:.3g}"
                return Escalate(self.disclosure, None if whole else number, why)
        return KeepLocal(f"sure: {block.uncertainty:.3g} below {self.threshold:.3g}")


@dataclass(frozen=True)
class AlwaysEscalate:
    """Escalates every block: the bound on what verification can give."""

    disclosure: Disclosure = Disclosure.SUMMARY

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return Escalate(self.disclosure)


@dataclass(frozen=True)
class NeverEscalate:
    """The drafter alone."""

    reason: str = "nothing is sent"

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return KeepLocal(self.reason)


class EnrolmentGuard:
    """Another policy towards a voice that is not known yet: what would send a state is committed as
    drafted, since from a state the person could be told. Made anew for each caption."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.has_blocked = False
        """Whether anything was."""

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        decision = self._policy(block, budget)
        if isinstance(decision, KeepLocal) or decision.disclosure is Disclosure.TOKENS:
            return decision
        self.has_blocked = True
        return KeepLocal(NOT_ENROLLED)


class RandomPolicy:
    """Escalates a share ``rate`` of the blocks at random: the baseline a gate must beat."""

    def __init__(self, rate: float, seed: int, disclosure: Disclosure = Disclosure.SUMMARY) -> None:
        self._rate = rate
        self._random = Random(seed)  # noqa: S311  # an experiment's seed, not a secret
        self._disclosure = disclosure

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        return Escalate(self._disclosure) if self._random.random() < self._rate else KeepLocal()
