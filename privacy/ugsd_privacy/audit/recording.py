"""Making the record of one passage, whoever writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.ledger import EgressTransaction

__all__ = ["record_of"]


def record_of(
    passage: EgressTransaction,
    carried: Mapping[str, Any],
    *,
    user: str,
    clip_norm: float,
    delta: float,
    now_s: float,
) -> EgressRecord:
    """The record of ``passage``: ``carried`` says what happened, the rest where the budget of
    ``user`` stood before it and when it was, Unix time in seconds."""
    return EgressRecord(
        **carried,
        clip_norm=clip_norm,
        delta=delta,
        before={window: used.counts for window, used in passage.before.items()},
        hour=passage.hour,
        user=user,
        time_s=int(now_s),
    )
