"""The states of the link to a verifier::

    IDLE ── start ──> CONNECTING ── session ──> READY ── drop(error) ──> BACKING_OFF
     ^                   ^   └────── failure ──────┼───────────────────────^   │
     └───── too old ─────┼─────────────────────────┘                           │
                         └──────────── start, when the delay is over ──────────┘

*Start* is ``start_connecting()``. An idle link that is dropped backs off too, and ``stop()`` leads
from any state to CLOSED.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["TRANSITIONS", "LinkState"]


class LinkState(StrEnum):
    """State of a :class:`~ugsd_sdk.connection.verifier_connection.VerifierConnection`."""

    IDLE = "idle"
    """There is no session; ``start_connecting()`` opens one."""
    CONNECTING = "connecting"
    """A background thread is connecting."""
    READY = "ready"
    """There is a session."""
    BACKING_OFF = "backing off"
    """The last attempt or session failed; ``start_connecting()`` does nothing during a delay."""
    CLOSED = "closed"
    """The link never connects again."""


TRANSITIONS: Mapping[LinkState, frozenset[LinkState]] = {
    LinkState.IDLE: frozenset({LinkState.CONNECTING, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.CONNECTING: frozenset({LinkState.READY, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.READY: frozenset({LinkState.IDLE, LinkState.BACKING_OFF, LinkState.CLOSED}),
    LinkState.BACKING_OFF: frozenset({LinkState.CONNECTING, LinkState.CLOSED}),
    LinkState.CLOSED: frozenset(),
}
"""The states that may follow each state; any other transition is a bug of this package."""
