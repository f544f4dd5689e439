"""What a block discloses at a disclosure level: the escalation for the egress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure

from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.committed_tokens import CommittedTokens, DraftedToken
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.speculative import disclosure_fault

if TYPE_CHECKING:
    from ugsd_privacy.egress import Escalation

__all__ = ["build_escalation"]


def build_escalation(
    block: Sequence[DraftedToken],
    committed: CommittedTokens,
    disclosure: Disclosure,
    rules: BlockRules,
    summary: NDArray[np.float32] | None,
) -> Escalation:
    """Return the escalation of ``block``, which was drafted after ``committed``.

    ``summary`` (B,) is the state of position 0, or ``None`` if the verifier has it. Raises
    :class:`ConfigError` for a disclosure that the way of verification does not allow.
    """
    from ugsd_privacy.egress import Escalation  # noqa: PLC0415  # heavy

    fault = disclosure_fault(disclosure, rules.verification)
    if fault is not None:
        raise ConfigError(f"the policy escalates with disclosure = {disclosure}: {fault}")
    states = _states(block, committed, disclosure, summary)
    positions = tuple(sorted(states))
    rows = np.zeros((len(positions), block[0].state.size), dtype=np.float32)
    for row, position in enumerate(positions):
        rows[row] = states[position]
    return Escalation(
        disclosure=disclosure,
        keep=committed.num_at_verifier,
        prefix=committed.prefix,
        tokens=tuple(drafted.token for drafted in block),
        state_positions=positions,
        states=rows,
        slot=rules.slot,
        continue_to=rules.continue_to,
        draft_weights=b"".join(drafted.draft_weights for drafted in block),
    )


def _states(
    block: Sequence[DraftedToken],
    committed: CommittedTokens,
    disclosure: Disclosure,
    summary: NDArray[np.float32] | None,
) -> dict[int, NDArray[np.float32]]:
    """Return the states that are disclosed, by position."""
    if disclosure is Disclosure.TOKENS:
        return {}
    if disclosure in {Disclosure.SUMMARY, Disclosure.DISTRIBUTIONS}:
        return {} if summary is None else {0: summary}
    start = len(committed)
    states = {start + index: drafted.state for index, drafted in enumerate(block)}
    if disclosure is Disclosure.ALL_STATES:
        states |= committed.states
    return states
