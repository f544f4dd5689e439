"""The session with one verifier, and one caption's dealings with it.

A :class:`Link` connects on a background thread, so a caption waits for a connection at most as long
as for a block. One block is unanswered at a time: an answer that comes after its deadline is read
and dropped before the next block leaves, since the channel opens frames in order only.

A session is replaced by a new handshake when it is an hour old or nearly used up, by the first
caption that finds it so and never in mid-caption: whoever stole the secrets of one session learns
nothing of the next. Where that fails there is no session, as after any loss.

::

    IDLE ── begin() ──> CONNECTING ──> READY ── drop(error) ──> BACKING OFF ── begin() ──> ...
                         ^  └── failure ─┼──────────────────────^
                         └──── too old ──┘
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic
from typing import Protocol

from ugsd_privacy.egress import Egress, SealedFrame
from ugsd_privacy.errors import (
    BudgetExceeded,
    HandshakeFailed,
    LedgerError,
    LedgerMoved,
    LedgerUnavailable,
    LogTampered,
    PrivacyError,
    UnknownVersion,
)
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.protocol.channel import CHANNEL_VERSION, ClientChannel
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    WIRE_VERSION,
    Cover,
    Refusal,
    Verdict,
    Welcome,
    decode_server_message,
)

from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.concurrency.forks import call_in_children
from ugsd_sdk.drafter import DrafterInfo
from ugsd_sdk.errors import (
    TransportError,
    VerifierMisbehaved,
    VerifierMismatch,
    VerifierTimeout,
    VerifierUnreachable,
)
from ugsd_sdk.home import UserEgress
from ugsd_sdk.transport import Transport

__all__ = ["Endpoint", "Session", "VerifierConnection", "reason_text_of"]

_logger = logging.getLogger(__name__)

_FIRST_BACK_OFF_S, _LAST_BACK_OFF_S = 0.5, 300.0
_SESSION_LIFETIME_S = 3600.0
_PATIENCE_S = 10.0
"""A connection on which a block stayed unanswered for so long is given up."""
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1; how a verifier answers a hello that it cannot read


def reason_text_of(error: Exception) -> str:
    """Why a caption is degraded: short, stable, and free of anything the peer said."""
    match error:
        case TransportError():
            return error.reason
        case BudgetExceeded():
            return f"budget: {error.cap}"
        case LedgerMoved():
            return "ledger moved"
        case LedgerError():
            return "ledger unavailable"
        case LogTampered():
            return "audit log tampered"
        case _:
            return VerifierMisbehaved.default_reason


class Endpoint(Protocol):
    """Knows how to reach one verifier."""

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        """An unconnected transport, and the key to pin. May take long (a process to start)."""

    def close(self) -> None: ...


@dataclass
class Session:
    """A connection with its end-to-end channel, after the handshake."""

    transport: Transport
    channel: ClientChannel
    egress: Egress
    welcome: Welcome
    started_at_s: float
    unanswered: bool = False
    sent_at_s: float = 0.0

    def send(self, frame: SealedFrame) -> None:
        """Send a block's frame or a cover's; exactly one answer to it is to be received."""
        self.unanswered, self.sent_at_s = True, monotonic()
        self.transport.send(frame)

    def receive(self, timeout_s: float) -> tuple[Verdict | Refusal | Cover, int]:
        """The answer to the last frame, and its size in bytes on the wire."""
        data = self.transport.receive(timeout_s)
        message = decode_server_message(self.channel.open(data))
        self.unanswered = False
        if isinstance(message, Welcome):
            raise VerifierMisbehaved("a second welcome in answer to a block")
        return message, len(data)

    def close(self) -> None:
        """Close both layers."""
        self.channel.close()
        self.transport.close()


class VerifierConnection:
    """Keeps a session with one verifier. ``session`` and ``drop`` are for one thread; any may call
    :meth:`stop`. In a forked process it has no session and makes none: those are its parent's."""

    def __init__(
        self,
        dialer: Endpoint,
        user_egress: UserEgress,
        info: Callable[[], DrafterInfo],
        *,
        connect_timeout_s: float,
        first_back_off_s: float = _FIRST_BACK_OFF_S,
        session_lifetime_s: float = _SESSION_LIFETIME_S,
    ) -> None:
        self._dialer = dialer
        self._door = user_egress
        self._info = info
        self._connect_timeout_s = connect_timeout_s
        self._first_back_off_s = first_back_off_s
        self._session_lifetime_s = session_lifetime_s
        self._lock = Lock()
        self._session: Session | None = None
        self._failure: Exception | None = None
        self._failures = 0
        self._retry_at_s = 0.0
        self._attempt: Event | None = None
        """Set when the attempt under way has ended."""
        self._waited_in_vain = False
        self._connecting: Transport | None = None
        """That of the attempt under way."""
        self._awaits_ledger = False
        """Whether that attempt has yet to open the ledger."""
        self._closed = False
        call_in_children(self._forget_in_child)

    def start_connecting(self) -> None:
        """Start connecting, unless connected, connecting, or backing off. Returns at once."""
        with self._lock:
            idle = self._session is None and self._attempt is None and not self._closed
            if not idle or monotonic() < self._retry_at_s:
                return
            attempt = self._attempt = Event()
            self._waited_in_vain = False
        BackgroundWork(lambda: self._run(attempt), "ugsd-link")

    def session(
        self, timeout_s: float, *, insist: bool = False, only: Session | None = None
    ) -> Session:
        """The session, ready for a block; connects if need be, waiting ``timeout_s`` at most.

        One attempt costs one caption a wait: the next ones find it still connecting and go on,
        unless they ``insist``, which cuts backing off short too. ``only`` is the one that a caption
        began on; where it was lost the next is not waited for, since a new one holds none of that
        caption's tokens. Without it, a session that is too old is replaced first. Raises a
        ``TransportError`` or ``PrivacyError``, the last failure's while backing off.
        """
        if insist:
            self._waited_in_vain, self._retry_at_s = False, 0.0
        ends_s = monotonic() + timeout_s
        session = self._ready(ends_s)
        if session.unanswered:
            self._read_late_answer(session)
        elif not self._is_alive(session):  # found before anything is charged for it
            self._retry_at_s = 0.0
            self.start_connecting()
            if only is not None:
                raise VerifierUnreachable("the connection was lost in mid-caption")
            return self._ready(ends_s)
        if only is None and self._needs_renewal(session):
            self._retire()
            return self._ready(ends_s)
        return session

    def succeeded(self) -> None:
        """A verdict was of use: the next failure starts backing off anew."""
        self._failures = 0

    def drop(self, error: Exception) -> None:
        """Give the session up because of ``error``; a later ``begin`` connects again."""
        with self._lock:
            self._back_off(error)
        self._retire()

    def stop(self) -> None:
        """Connect no more, and end the waits of every thread: :meth:`close` comes next."""
        with self._lock:
            self._closed = True
            session, connecting, attempt = self._session, self._connecting, self._attempt
        if attempt is not None:
            attempt.set()
        for transport in (connecting, session and session.transport):
            if transport is not None:
                transport.close()

    def close(self) -> None:
        """Close the session and what the dialer keeps. May be called again. An attempt that is
        under way is abandoned: it closes what it has made."""
        self.stop()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()
        self._dialer.close()

    def _forget_in_child(self) -> None:
        self._lock = Lock()  # a thread of the parent may have held the other one
        self._closed, self._attempt = True, None
        self._session = self._connecting = None
        self._failure = VerifierUnreachable("the connection belongs to the process that was forked")

    def _ready(self, ends_s: float) -> Session:
        self.start_connecting()
        with self._lock:
            attempt = self._attempt
        wait_s = 0 if self._waited_in_vain else max(ends_s - monotonic(), 0)
        if attempt is not None and not attempt.wait(wait_s):
            self._waited_in_vain = True
            if self._awaits_ledger:
                raise LedgerUnavailable("another process has held the ledger all the time")
            raise VerifierUnreachable("still connecting")
        with self._lock:
            session, failure = self._session, self._failure
        if session is None:
            raise failure or VerifierUnreachable("not connected")
        return session

    def _needs_renewal(self, session: Session) -> bool:
        """Whether the session is too old, or might end in mid-caption: a block has a token at
        least, so no caption has more frames than tokens."""
        age_s = monotonic() - session.started_at_s
        few = session.channel.frames_remaining <= MAX_CAPTION_TOKENS
        return age_s > self._session_lifetime_s or few

    def _retire(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is not None:  # a farewell may take a while; no caption waits for it
            BackgroundWork(session.close, "ugsd-farewell")

    def _is_alive(self, session: Session) -> bool:
        try:
            session.transport.receive(0)
        except VerifierTimeout:
            return True
        except TransportError as error:
            self.drop(error)
            return False
        uncalled = VerifierMisbehaved("a frame that nobody asked for")
        self.drop(uncalled)
        raise uncalled

    def _read_late_answer(self, session: Session) -> None:
        try:
            session.receive(0)
        except VerifierTimeout:
            if monotonic() - session.sent_at_s > _PATIENCE_S:
                self.drop(VerifierUnreachable("a block stayed unanswered"))
            raise VerifierTimeout("the verifier still owes an earlier answer") from None
        except (TransportError, PrivacyError) as error:
            self.drop(error)
            raise

    def _back_off(self, error: Exception) -> None:
        self._failure = error
        delay_s = min(self._first_back_off_s * 2**self._failures, _LAST_BACK_OFF_S)
        self._retry_at_s = monotonic() + delay_s
        self._failures = min(self._failures + 1, 32)

    def _run(self, attempt: Event) -> None:
        session: Session | None = None
        failure: Exception | None = None
        try:
            session = self._connect()
        except (TransportError, PrivacyError) as error:
            failure = error
        except Exception as error:
            _logger.error("connecting failed: %s", type(error).__name__)  # noqa: TRY400
            failure = VerifierUnreachable("connecting failed")
        with self._lock:
            self._attempt = self._connecting = None
            if failure is not None:
                self._back_off(failure)
            if not self._closed:
                self._session, session = session, None
            closed = self._closed
        if session is not None:
            session.close()
        if closed:  # it may have opened them again meanwhile
            self._dialer.close()
            self._door.close()
        attempt.set()

    def _connect(self) -> Session:
        deadline_s = monotonic() + self._connect_timeout_s

        def left_s() -> float:
            return max(deadline_s - monotonic(), 0)

        self._awaits_ledger = True
        try:
            egress = self._door.open(timeout_s=left_s())
            # Nothing is sent on a log that does not extend what was signed.
            egress.checkpoint(timeout_s=left_s())
        finally:
            self._awaits_ledger = False
        transport, pinned = self._dialer.dial(left_s())
        channel = ClientChannel(pinned)
        try:
            self._announce(transport)
            transport.connect(left_s())
            transport.send(egress.seal_hello(channel, timeout_s=left_s()))
            answer = transport.receive(left_s())
            welcome = decode_server_message(channel.receive_hello(answer))
            self._check(welcome)
        except VerifierUnreachable as error:
            transport.close()
            if error.close_code == _POLICY_VIOLATION:
                raise VerifierMismatch(
                    "the verifier cannot read what is sealed for the pinned key, or does not speak "
                    f"channel version {CHANNEL_VERSION} as this device does: "
                    "ask its operator for its key and release"
                ) from error
            raise
        except UnknownVersion as error:
            transport.close()
            raise VerifierMismatch(
                f"the verifier speaks wire version {error.version}, this device {WIRE_VERSION}: "
                "use releases of one version",
                reason="verifier of another version",
            ) from error
        except HandshakeFailed as error:
            transport.close()
            raise VerifierMisbehaved(
                "the answer to the hello cannot be read: it is not the verifier of the pinned key, "
                "or of another release; check address and key"
            ) from error
        except BaseException:
            transport.close()
            raise
        assert isinstance(welcome, Welcome)  # noqa: S101
        return Session(transport, channel, egress, welcome, monotonic())

    def _announce(self, transport: Transport) -> None:
        """Let :meth:`stop` close it."""
        with self._lock:
            self._connecting = transport
            if self._closed:
                raise VerifierUnreachable("closed while it was connecting")

    def _check(self, welcome: Welcome | Verdict | Refusal | Cover) -> None:
        if not isinstance(welcome, Welcome):
            raise VerifierMisbehaved("the handshake carries no welcome")
        info = self._info()
        ours = {
            "vocabulary": (welcome.vocabulary, info.vocabulary),
            "projection": (
                (welcome.projection, welcome.state_dim),
                (info.projection, info.state_dim),
            ),
        }
        for name, (theirs, mine) in ours.items():
            if theirs != mine:
                raise VerifierMismatch(
                    f"the verifier is of another {name}: use the pair that was trained together",
                    reason=f"verifier of another {name}",
                )
