"""The states of the link to a verifier::

    IDLE ── begin() ──> CONNECTING ── session ──> READY ── drop(error) ──> BACKING_OFF
     ^                   ^   └────── failure ───────┼────────────────────────^   │
     └───── too old ─────┼──────────────────────────┘                            │
                         └──────────── begin(), once the delay is over ──────────┘

An idle link that is dropped backs off too, and ``stop()`` closes from any state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["TRANSITIONS", "LinkState"]


class LinkState(StrEnum):
    """What a :class:`~ugsd_sdk.connection.verifier_connection.Link` is doing."""

    IDLE = "idle"
    """There is no session, and ``begin()`` makes one."""
    CONNECTING = "connecting"
    """An attempt is under way on a thread of its own."""
    READY = "ready"
    """There is a session."""
    BACKING_OFF = "backing off"
    """The last attempt or session failed; ``begin()`` does nothing before a delay is over."""
    CLOSED = "closed"
    """The link connects no more."""


TRANSITIONS: Mapping[LinkState, frozenset[LinkState]] = {
    LinkState.IDLE: frozenset({LinkState.CONNECTING, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.CONNECTING: frozenset({LinkState.READY, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.READY: frozenset({LinkState.IDLE, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.BACKING_OFF: frozenset({LinkState.CONNECTING, LinkState.CLOSED}),
    LinkState.CLOSED: frozenset(),
}
"""Which states may follow each; anything else is a fault of our own."""
