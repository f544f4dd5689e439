"""The states of the link to a verifier::

    IDLE          start ──> CONNECTING or TRIAL
    CONNECTING    session ──> READY       failure ──> BACKING_OFF or CIRCUIT_OPEN
    READY         too old, or lost while idle ──> IDLE
                  failure ──> BACKING_OFF or CIRCUIT_OPEN
    BACKING_OFF   start, when the delay is over ──> CONNECTING or TRIAL
                  failure ──> CIRCUIT_OPEN
    CIRCUIT_OPEN  start, when the delay is over ──> TRIAL or CONNECTING
    TRIAL         session ──> READY       failure ──> CIRCUIT_OPEN or BACKING_OFF

*Start* is ``start_connecting()``, and a *failure* is one of an attempt to connect, of a session, or
of a question without a verdict. After several in a row the circuit is open, and TRIAL is what is
called half-open elsewhere: in both, captions wait for nothing, and nothing is sealed or charged.
Only a verdict that was used ends the row. So after a trial that led to a session, the next failure
opens the circuit again. The connections to one verifier share a circuit, which another of them may
open and close meanwhile: therefore two states may follow where one connection alone has one.

``stop()`` leads from any state to CLOSED.
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
    """A background thread is connecting, and one caption may wait for it."""
    READY = "ready"
    """There is a session."""
    BACKING_OFF = "backing off"
    """The last attempt or session failed; ``start_connecting()`` does nothing during a delay."""
    CIRCUIT_OPEN = "circuit open"
    """Several failures in a row; ``start_connecting()`` does nothing during a delay."""
    TRIAL = "trial"
    """The circuit is open, and a background thread is connecting. No caption waits for it."""
    CLOSED = "closed"
    """The link never connects again."""


_FAILED = frozenset({LinkState.BACKING_OFF, LinkState.CIRCUIT_OPEN})
TRANSITIONS: Mapping[LinkState, frozenset[LinkState]] = {
    LinkState.IDLE: _FAILED | {LinkState.CONNECTING, LinkState.TRIAL, LinkState.CLOSED},
    LinkState.CONNECTING: _FAILED | {LinkState.READY, LinkState.CLOSED},
    LinkState.READY: _FAILED | {LinkState.IDLE, LinkState.CLOSED},
    LinkState.BACKING_OFF: frozenset(
        {LinkState.CONNECTING, LinkState.TRIAL, LinkState.CIRCUIT_OPEN, LinkState.CLOSED}
    ),
    LinkState.CIRCUIT_OPEN: _FAILED | {LinkState.CONNECTING, LinkState.TRIAL, LinkState.CLOSED},
    LinkState.TRIAL: _FAILED | {LinkState.READY, LinkState.CLOSED},
    LinkState.CLOSED: frozenset(),
}
"""The states that may follow each state; any other transition is a bug of this package."""
