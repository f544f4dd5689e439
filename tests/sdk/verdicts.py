"""Verdicts for the tests of the captioner."""

from __future__ import annotations

from typing import Any

from ugsd_privacy.protocol.messages import Block, Verdict


def verdict_on(block: Block, **changes: Any) -> Verdict:
    """Return a verdict that accepts ``block``, with ``changes``."""
    accepted = Verdict(
        caption=block.caption,
        start=block.start,
        accepted=len(block.tokens),
        correction=None,
        continuation=(),
    )
    return Verdict(**{**accepted.model_dump(), **changes})
