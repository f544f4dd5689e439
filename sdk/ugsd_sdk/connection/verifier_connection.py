"""The connection to one verifier, with at most one session at a time.

A :class:`VerifierConnection` connects on a background thread, so a caption waits for a connection
at most as long as for a block. At most one block is unanswered at a time: an answer that arrives
after its deadline is read and dropped before the next block is sent, since the channel opens frames
only in order.

Delays between attempts grow exponentially and are drawn at random, so that the devices of a
verifier that comes back do not connect all at once. After :data:`FAILURES_TO_OPEN` failures in a
row the circuit is open: no caption waits any more until a trial connection succeeded. So a verifier
that is gone, or that connects and never answers, costs a few captions their deadline and not each
of them. A verifier that cannot be reached or does not answer counts for all connections that share
a :class:`~ugsd_sdk.connection.circuit.Circuit`; what the ledger or a user's budget forbids, and an
answer that is refused or wrong, counts for one connection alone.

The first caption that finds a session an hour old or nearly used up replaces it by a new handshake,
never during a caption: the secrets of one session reveal nothing about the next. If the handshake
fails there is no session, as after any loss.

:mod:`~ugsd_sdk.connection.link_state` defines the states and their transitions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Lock
from time import monotonic
from typing import Protocol

from ugsd_privacy.errors import LedgerUnavailable, PrivacyError
from ugsd_privacy.forks import call_in_children
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, RefusalCode
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.concurrency.fresh_errors import fresh
from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.connection.circuit import FAILURES_TO_OPEN, Attempt, Circuit
from ugsd_sdk.connection.link_state import TRANSITIONS, LinkState
from ugsd_sdk.connection.session import ASK_OPERATOR, PairIdentity, Session, open_session
from ugsd_sdk.errors import (
    TransportError,
    VerifierMisbehaved,
    VerifierRefused,
    VerifierTimeout,
    VerifierUnreachable,
)
from ugsd_sdk.home import UserEgress
from ugsd_sdk.transport import MeasuredTransport, Transport

__all__ = ["Endpoint", "VerifierConnection"]

_logger = logging.getLogger(__name__)

_SESSION_LIFETIME_S = 3600.0
_LATE_ANSWER_TIMEOUT_S = 10.0
"""A connection is dropped when a block has been unanswered for this long."""

_STARTED = frozenset({LinkState.IDLE, LinkState.BACKING_OFF, LinkState.CIRCUIT_OPEN})
"""The states in which ``start_connecting()`` does something."""


class Endpoint(Protocol):
    """A way to reach one verifier."""

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        """Return an unconnected transport and the key to pin. May take long, to start a process.
        Called by several threads at once."""

    def failed(self) -> None:
        """Note that a dialled transport led to no session."""

    def close(self) -> None: ...


class VerifierConnection:
    """Opens and renews sessions with one verifier.

    One thread at a time calls :meth:`session` and :meth:`drop`; any thread may call :meth:`stop`.
    In a forked process it is closed, since the connection belongs to the parent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        user_egress: UserEgress,
        drafter: Callable[[], PairIdentity],
        *,
        connect_timeout_s: float,
        circuit: Circuit | None = None,
        session_lifetime_s: float = _SESSION_LIFETIME_S,
    ) -> None:
        """Connect to nothing yet. ``circuit`` is shared by the connections to one endpoint, which
        whoever made it closes."""
        self._endpoint = endpoint
        self._user_egress = user_egress
        self._drafter = drafter
        self._connect_timeout_s = connect_timeout_s
        self._circuit = circuit or Circuit()
        self._own = Circuit()
        """Failures that need not be those of other users: of the ledger, of the user's budget, and
        of single questions."""
        self._session_lifetime_s = session_lifetime_s
        self._lock = Lock()
        self._state = LinkState.IDLE
        """Changed only by :meth:`_become`, with the lock held."""
        self._session: Session | None = None
        self._failure: Exception | None = None
        self._attempt: Event | None = None
        """Set when the current attempt to connect has ended."""
        self._wait_expired = False
        """Whether a caption has already waited in full for the current attempt."""
        self._connecting: Transport | None = None
        """The transport of the current attempt."""
        self._awaits_ledger = False
        """Whether the current attempt still waits for the ledger."""
        call_in_children(self._forget_in_child)

    @property
    def state(self) -> LinkState:
        """The current state of the link."""
        return self._state

    @property
    def is_awaiting_answer(self) -> bool:
        """Whether the answer to the last question is still to come, or to be read."""
        session = self._session
        return session is not None and session.unanswered

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip to the verifier, measured without content; ``None`` without a session, or
        if the transport does not measure it."""
        session = self._session
        if session is None or not isinstance(session.transport, MeasuredTransport):
            return None
        return session.transport.round_trip

    def start_connecting(self) -> None:
        """Start connecting unless connected, connecting or in a delay. Returns at once."""
        with self._lock:
            if self._state not in _STARTED or monotonic() < self._own.retry_at_s:
                return
            allowed = self._circuit.begin()
            if allowed is None:
                return
            is_trial = allowed.is_trial or self._own.is_open
            self._become(LinkState.TRIAL if is_trial else LinkState.CONNECTING)
            attempt = self._attempt = Event()
            self._wait_expired = False
        BackgroundWork(lambda: self._run(attempt, allowed), "ugsd-link")

    def session(
        self, timeout_s: float, *, insist: bool = False, only: Session | None = None
    ) -> Session:
        """Return a session that is ready for a block; connect first if there is none.

        Waits at most ``timeout_s``. Only one caption waits for an attempt to connect, and none for
        a trial; others fail at once while it still runs, unless they ``insist``, which also ends a
        delay. ``only`` is the session that the caption started with: if it was lost, a new session
        is not waited for, since the verifier would not know the caption's tokens. Without ``only``,
        an old session is replaced first. Raises a ``TransportError`` or ``PrivacyError``; in a
        delay, that of the last failure, or one whose reason is ``CIRCUIT_OPEN``. Raises a
        ``CallEnded`` of the current call as well.
        """
        if insist:
            self._wait_expired = False
            self._own.retry_at_s = self._circuit.retry_at_s = 0.0
        ends_s = monotonic() + timeout_s
        session = self._ready(ends_s, insist=insist)
        if session.unanswered:
            self._read_late_answer(session)
        elif not self._is_alive(session):  # noticed before the budget is charged
            self.start_connecting()
            if only is not None:
                raise VerifierUnreachable("the connection was lost during the caption: try again")
            return self._ready(ends_s, insist=insist)
        if isinstance(session.transport, MeasuredTransport) and session.transport.is_late:
            raise VerifierUnreachable(
                "the connection to the verifier is silent: check the network, or try again later"
            )
        if only is None and self._needs_renewal(session):
            self._retire_session()
            return self._ready(ends_s, insist=insist)
        return session

    def succeeded(self) -> None:
        """Record that a verdict was used, which ends a row of failures."""
        self._circuit.succeed()
        self._own.succeed()

    def question_failed(self, error: TransportError) -> None:
        """Record that a frame got no verdict because of ``error``, although the session is usable.
        The last of several failures in a row drops the session, and opens the circuit."""
        failures = self._failures_of(error)
        if failures.opens_next:
            self.drop(error)
        else:
            failures.count()

    def drop(self, error: Exception) -> None:
        """Close the session because of ``error``; :meth:`start_connecting` opens another."""
        with self._lock:
            self._back_off(error)
            following = self._after_failure()
            if self._attempt is None and following in TRANSITIONS[self._state]:
                self._become(following)
            session, self._session = self._session, None
        _close_in_background(session)

    def stop(self) -> None:
        """Stop connecting and end the waits of every thread. Call :meth:`close` next."""
        with self._lock:
            self._become(LinkState.CLOSED)
            session, connecting, attempt = self._session, self._connecting, self._attempt
        if attempt is not None:
            attempt.set()
        for transport in (connecting, session and session.transport):
            if transport is not None:
                transport.close()

    def close(self) -> None:
        """Close the session. May be called again. A current attempt to connect is abandoned and
        closes what it has opened."""
        self.stop()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _forget_in_child(self) -> None:
        self._lock = Lock()  # a thread of the parent may have held the other one
        self._state, self._attempt = LinkState.CLOSED, None
        self._session = self._connecting = None
        self._failure = VerifierUnreachable(
            "the connection belongs to the parent process: create a captioner after the fork"
        )

    def _ready(self, ends_s: float, *, insist: bool) -> Session:
        self.start_connecting()
        with self._lock:
            attempt, is_trial = self._attempt, self._state is LinkState.TRIAL
        waits = insist or not (is_trial or self._wait_expired)
        slices = current_call().slices(max(ends_s - monotonic(), 0) if waits else 0)
        if attempt is not None and not any(map(attempt.wait, slices)):
            self._wait_expired = True
            if is_trial:
                raise self._unavailable()
            if self._awaits_ledger:
                raise LedgerUnavailable(
                    "another process has locked the ledger: "
                    "wait until it has ended, or end it, and try again"
                )
            raise VerifierUnreachable("still connecting: try again later, or allow more time")
        session = self._session
        if session is None:
            raise self._unavailable()
        return session

    def _unavailable(self) -> Exception:
        """Return a new error that says why there is no session."""
        with self._lock:
            failure, is_open = self._failure or self._circuit.failure, self._is_open()
        if failure is None:
            return VerifierUnreachable("not connected: connect again")
        if not is_open or not isinstance(failure, TransportError):
            return fresh(failure)
        return VerifierUnreachable(
            f"the verifier failed {FAILURES_TO_OPEN} times in a row or more, so captions do not "
            f"wait for it until a trial succeeded; the last failure: {failure}",
            reason=Reason(
                code=ReasonCode.CIRCUIT_OPEN, failure=replace(failure.reason, failure=None)
            ),
        )

    def _needs_renewal(self, session: Session) -> bool:
        """Return whether the session is too old or might run out of frames during a caption. A
        caption has no more frames than tokens, since each block has at least one token."""
        age_s = monotonic() - session.started_at_s
        may_run_out = session.channel.frames_remaining <= MAX_CAPTION_TOKENS
        return age_s > self._session_lifetime_s or may_run_out

    def _retire_session(self) -> None:
        with self._lock:
            if self._state is LinkState.READY:
                self._become(LinkState.IDLE)
            session, self._session = self._session, None
        _close_in_background(session)

    def _become(self, state: LinkState) -> None:
        """Change the state, with the lock held; a closed link stays closed."""
        if self._state is not LinkState.CLOSED:
            assert state in TRANSITIONS[self._state], f"{self._state} -> {state}"  # noqa: S101
            self._state = state

    def _is_alive(self, session: Session) -> bool:
        try:
            session.transport.receive(0)
        except VerifierTimeout:
            return True
        except TransportError as error:
            self._failure = error
            self._retire_session()
            return False
        unsolicited = VerifierMisbehaved(f"the verifier sent an unsolicited frame: {ASK_OPERATOR}")
        self.drop(unsolicited)
        raise unsolicited

    def _read_late_answer(self, session: Session) -> None:
        try:
            session.receive(0)
        except VerifierTimeout:
            if monotonic() - session.sent_at_s > _LATE_ANSWER_TIMEOUT_S:
                self.drop(
                    VerifierUnreachable(f"the verifier did not answer a block: {ASK_OPERATOR}")
                )
            raise VerifierTimeout(
                "the verifier has not answered the last block yet: try again later"
            ) from None
        except (TransportError, PrivacyError) as error:
            self.drop(error)
            raise

    def _back_off(self, error: Exception) -> None:
        """Count a failure, which delays the next attempt."""
        self._failure = error
        self._failures_of(error).fail(error)

    def _failures_of(self, error: Exception) -> Circuit:
        """Return what counts ``error``. A refused or wrong answer may be due to the question, and
        costs no deadline: unless the verifier is overloaded, it is counted for this connection
        alone."""
        if isinstance(error, VerifierRefused):
            return self._circuit if error.code == RefusalCode.OVERLOADED else self._own
        return self._own if isinstance(error, (PrivacyError, VerifierMisbehaved)) else self._circuit

    def _is_open(self) -> bool:
        return self._circuit.is_open or self._own.is_open

    def _after_failure(self) -> LinkState:
        return LinkState.CIRCUIT_OPEN if self._is_open() else LinkState.BACKING_OFF

    def _run(self, attempt: Event, allowed: Attempt) -> None:
        session: Session | None = None
        failure: Exception | None = None
        try:
            session = self._connect()
        except (TransportError, PrivacyError) as error:
            failure = error
        except Exception as error:
            _logger.error("connecting failed: %s", type(error).__name__)  # noqa: TRY400
            failure = VerifierUnreachable(
                "connecting failed: try again, and see the log if it fails again"
            )
        allowed.end()
        with self._lock:
            self._attempt = self._connecting = None
            if failure is not None:
                self._back_off(failure)
            self._become(LinkState.READY if failure is None else self._after_failure())
            closed = self._state is LinkState.CLOSED
            if not closed:
                self._session, session = session, None
        if session is not None:
            session.close()
        if closed:  # the attempt may have reopened it after close()
            self._user_egress.close()
        attempt.set()

    def _connect(self) -> Session:
        deadline_s = monotonic() + self._connect_timeout_s

        def remaining_s() -> float:
            return max(deadline_s - monotonic(), 0)

        self._awaits_ledger = True
        try:
            home = self._user_egress.open(timeout_s=remaining_s())
            # Nothing is sent if the log does not extend the signed checkpoint.
            home.checkpoints.checkpoint(timeout_s=remaining_s())
        finally:
            self._awaits_ledger = False
        transport, pinned = self._endpoint.dial(remaining_s())
        try:
            self._register(transport)
            return open_session(transport, pinned, home, self._drafter, remaining_s=remaining_s)
        except BaseException as error:
            transport.close()
            if isinstance(error, TransportError) and self._state is not LinkState.CLOSED:
                self._endpoint.failed()
            raise

    def _register(self, transport: Transport) -> None:
        """Let :meth:`stop` close ``transport``."""
        with self._lock:
            self._connecting = transport
            if self._state is LinkState.CLOSED:
                raise VerifierUnreachable("closed while connecting: connect again")


def _close_in_background(session: Session | None) -> None:
    if session is not None:  # closing may take a while, and no caption waits for it
        BackgroundWork(session.close, "ugsd-farewell")
