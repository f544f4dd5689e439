"""Builds egress records, for the egress and for acts of the owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.ledger import EgressTransaction

__all__ = ["record_of"]


def record_of(
    transaction: EgressTransaction,
    fields: Mapping[str, Any],
    *,
    user: str,
    clip_norm: float,
    delta: float,
    now_s: float,
) -> EgressRecord:
    """Build the record of ``transaction``: ``fields`` say what happened; the rest is the user's
    budget before it and the time, ``now_s`` in Unix seconds."""
    return EgressRecord(
        **fields,
        clip_norm=clip_norm,
        delta=delta,
        before={window: used.counts for window, used in transaction.before.items()},
        hour=transaction.hour,
        user=user,
        time_s=int(now_s),
    )
