"""Claim precision and claim recall: captions judged by what they state, not by their n-grams.

*Claim precision* is the share of stated values that are right; *claim recall* is the share of
salient facts that are stated. What is right and what is salient is decided by labels and by an
independent measurement (:mod:`~ugsd_lab.evaluation.claim_truth`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, Attributes

from ugsd_lab.evaluation.claim_truth import SlotTruth, Truth
from ugsd_lab.evaluation.intervals import draws, interval, share_measure

__all__ = [
    "CLAIMS",
    "ClaimShare",
    "chance_precision",
    "checked_claims",
    "claim_share",
    "recalled_facts",
    "stated_values",
]

CLAIMS: tuple[str, ...] = tuple(ATTRIBUTE_VALUES)
"""Everything that a caption may claim: its slots, and the intensity."""


@dataclass(frozen=True)
class ClaimShare:
    """A share of claims or of facts, with its interval over speakers."""

    count: int
    """Number of claims or of facts."""
    share: float
    """NaN without any."""
    low: float
    high: float


def stated_values(attributes: Attributes) -> dict[str, str]:
    """Return the values that the caption's text states, by the name of the attribute."""
    return {
        name: one.value
        for name, one in attributes.by_name().items()
        if one.is_said and one.value is not None
    }


def checked_claims(stated: Mapping[str, str], truth: Truth) -> dict[str, bool]:
    """Return whether each claim of a caption is right. A claim about a slot whose truth is not
    known is left out."""
    return {name: value in truth[name].right for name, value in stated.items() if name in truth}


def chance_precision(
    stated: Sequence[Mapping[str, str]], truths: Sequence[Truth]
) -> dict[str, float]:
    """Return the precision by slot if every claim were made about a recording at random instead,
    among those whose ``truths`` are known; NaN without claims."""
    chance: dict[str, float] = {}
    for name in CLAIMS:
        known = [truth[name].right for truth in truths if name in truth]
        right = Counter(value for values in known for value in values)
        claims = [own[name] for own in stated if name in own]
        total = len(claims) * len(known)
        chance[name] = sum(right[value] for value in claims) / total if total else float("nan")
    return chance


def recalled_facts(stated: Mapping[str, str], truth: Truth) -> dict[str, bool]:
    """Return whether the caption states each salient fact. Where a slot has several, one of them is
    enough, since a clause states one value."""
    return {name: _states(stated, name, facts) for name, facts in truth.items() if facts.salient}


def _states(stated: Mapping[str, str], name: str, facts: SlotTruth) -> bool:
    return stated.get(name) in facts.salient


def claim_share(speakers: Sequence[str], outcomes: Sequence[bool]) -> ClaimShare:
    """Return the share of ``outcomes`` that are true, and its 95 % interval over ``speakers``, one
    per outcome."""
    if not outcomes:
        return ClaimShare(0, *[float("nan")] * 3)
    measure = share_measure(speakers, [float(outcome) for outcome in outcomes])
    drawn = measure.redrawn(draws(len(set(speakers))))
    return ClaimShare(len(outcomes), measure.value, *interval(drawn))
