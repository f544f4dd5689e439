"""One caption's exchange of blocks and verdicts with the verifier, within its deadlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import TypeVar

from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_privacy.egress import CaptionHandle, Escalation, SealedFrame, require_recording_id
from ugsd_privacy.errors import (
    ChannelError,
    LedgerError,
    LedgerUnavailable,
    LogTampered,
    PrivacyError,
    WireError,
)
from ugsd_privacy.protocol.messages import Cover, Refusal, Verdict
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.calls.call import Call
from ugsd_sdk.concurrency.waiting import WaitingTime
from ugsd_sdk.connection.connection_pool import ConnectionPool
from ugsd_sdk.connection.failure_reasons import reason_of
from ugsd_sdk.connection.session import ASK_OPERATOR, Session
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import TransportError, VerifierMisbehaved, VerifierRefused, VerifierTimeout

__all__ = ["Exchange"]

_LOOK_EVERY_S = 0.001
"""How often a device that drafts on looks for an answer. Looking takes as long as a token."""
_FINISHING_S, _FINISHING_SHARE = 0.2, 0.25
"""How much of a call's time limit is kept for finishing the caption without the verifier: seconds,
and at most this share of the limit."""

_Result = TypeVar("_Result")


class Exchange:
    """Seals, sends and receives the blocks of one caption, one block at a time.

    In constant shape one frame is sent per caption: its first block or a cover frame; later blocks
    are refused. A failure is raised as a ``TransportError`` or ``PrivacyError``. Before that, the
    session is dropped if it is unusable, and ``unverified_reason`` is set.

    A call that ends raises a ``CallEnded`` out of any wait. It leaves the session usable: an answer
    that is still to come is read and dropped by the next caption.
    """

    def __init__(
        self,
        links: ConnectionPool,
        *,
        deadline_s: float,
        waiting: WaitingTime,
        traffic_shape: TrafficShape = TrafficShape.PADDED,
        recording: bytes | None = None,
        answered: Callable[[float], None] = lambda _: None,
        call: Call | None = None,
        holder: Lock | None = None,
    ) -> None:
        """A connection of ``links`` is acquired with the first block, until :meth:`close`, in the
        name of ``holder`` (:mod:`ugsd_privacy.slots`), so that it returns with the caption's end.

        ``deadline_s`` limits one block, from its sealing to its verdict. All waits for the
        verifier and for the ledger count against ``waiting``, the caption's total. ``recording`` is
        the id of the recording that the caption belongs to, 16 bytes. ``answered`` records how many
        seconds after its question an answer came. The time limit of ``call`` shortens the waits, so
        that the caption can be finished without the verifier. Raises :class:`RecordingRefused`."""
        require_recording_id(recording)
        self.recording = recording
        self.traffic_shape = traffic_shape
        self.waiting = waiting
        self._links = links
        self._holder = holder
        self._acquired: VerifierConnection | None = None
        self._deadline_s = deadline_s
        self._call = call or Call()
        self._block_ends_s = 0.0
        self._ledger_timed_out = False
        """Whether a wait for the ledger has timed out: a caption waits for it only once."""
        self._session: Session | None = None
        self._handle: CaptionHandle | None = None
        self._lost = False
        """Whether there was no session, or it was lost."""
        self._answered = answered
        self._sent_s = self._no_answer_s = 0.0
        """When the last frame was sent, and when there was certainly no answer to it."""
        self._early: Verdict | Refusal | Cover | Exception | None = None
        """What :meth:`has_answer` has found: the answer to the last frame, or the failure."""
        self._next_look_s = 0.0
        self.frames = self.bytes_sent = self.bytes_received = 0
        self.waited_s = 0.0
        """Time spent only on waiting for the verifier."""
        self.unverified_reason: Reason | None = None
        """The reason of the first failure."""

    def remaining_s(self) -> float:
        """Return how long the next block may wait for its answer."""
        return min(self._deadline_s, self.waiting.remaining_s, self._call_remaining_s())

    def _call_remaining_s(self) -> float:
        """Return how long the call may wait for the verifier; 0 or less if it has no time left."""
        limit_s = self._call.timeout_s
        kept_s = 0.0 if limit_s is None else min(_FINISHING_S, _FINISHING_SHARE * limit_s)
        return self._call.remaining_s - kept_s

    def seal(self, escalation: Escalation) -> SealedFrame:
        """Charge the budget for ``escalation`` and seal it. If it raises, nothing was sent."""
        with self._recording_failure():
            if self.traffic_shape is TrafficShape.CONSTANT and self.frames:
                raise TransportError(
                    "in constant shape one frame is sent per caption",
                    reason=ReasonCode.CONSTANT_SHAPE,
                )
            if self._call_remaining_s() <= 0:
                raise self._out_of_time()
            session = self._ready()
            end = escalation.keep + len(escalation.prefix) + len(escalation.tokens)
            if end > session.welcome.max_tokens:
                raise TransportError(
                    "the caption is longer than the verifier accepts",
                    reason=ReasonCode.BEYOND_VERIFIER,
                )
            return self._sealed(session, escalation)

    def send(self, frame: SealedFrame) -> None:
        """Send a sealed block. If it raises, the block may have been sent anyway."""
        with self._recording_failure():
            self._send(frame)

    def has_answer(self) -> bool:
        """Return whether :meth:`receive` would return or raise at once, because there is an answer
        to the block that was sent, a failure, or no time left. It never waits. An answer that is
        there is used, even if the device was too busy to look before the deadline."""
        now_s = monotonic()
        if self._early is None and now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_EVERY_S
            try:
                # It came after the last look: a device that was busy is not a slow verifier.
                self._early = self._read(0.0, came_at_s=self._no_answer_s)
            except VerifierTimeout:
                self._no_answer_s = now_s
            except (TransportError, PrivacyError) as error:
                self._early = error
        return self._early is not None or now_s >= self._block_ends_s

    def receive(self) -> Verdict:
        """Return the verdict on the block that was sent, or raise the failure."""
        with self._recording_failure():
            answer = self._receive()
            if isinstance(answer, Refusal):
                refused = VerifierRefused(str(answer.code))
                if self.traffic_shape is not TrafficShape.CONSTANT:  # a cover is never refused
                    self._link().question_failed(refused)
                raise refused
            handle = self._handle
            if handle is None or isinstance(answer, Cover) or answer.caption != handle.ordinal:
                raise self._drop(
                    VerifierMisbehaved(
                        f"the answer is no verdict on this caption's block: {ASK_OPERATOR}"
                    )
                )
            return answer

    def send_cover_if_due(self) -> None:
        """In constant shape, send a cover frame for a caption that sent no block.

        The caption then looks like any other on the network. The answer is awaited as for a block;
        nothing is sent without a session. A failure may drop the session, but it neither raises nor
        sets ``unverified_reason``, since no token was to be verified.
        """
        if self.traffic_shape is not TrafficShape.CONSTANT or self.frames or self._lost:
            return
        with suppress(TransportError, PrivacyError):
            self._send(self._sealed(self._ready(), None))
            if not isinstance(self._receive(), Cover):
                raise self._drop(
                    VerifierMisbehaved(f"the answer to a cover frame is no cover: {ASK_OPERATOR}")
                )
            self._link().succeeded()

    def verdict_rejected(self, error: VerifierMisbehaved) -> None:
        """Drop the session, since the decoder could not use the verdict."""
        self._record_failure(self._drop(error))

    def verdict_accepted(self) -> None:
        """Record that the decoder used the verdict."""
        self._link().succeeded()

    def receipts(self) -> tuple[Receipt, ...]:
        """Return the receipts of everything sent; none, with a reason, if the log is unusable."""
        if self._session is None or self._handle is None:
            return ()
        try:
            checkpoints, caption = self._session.home.checkpoints, self._handle.id
            with self.ledger_time() as timeout_s:
                receipts = self._in_slices(
                    timeout_s, lambda wait_s: checkpoints.receipts(caption, timeout_s=wait_s)
                )
        except PrivacyError as error:
            if isinstance(error, LogTampered):
                self._link().drop(error)  # connecting again checks the log before anything is sent
            self._record_failure(error)
            return ()
        return tuple(receipts)

    def close(self) -> None:
        """Return the connection; nothing is sent or received afterwards."""
        link, self._acquired = self._acquired, None
        if link is not None:
            self._links.release(link, self._holder)

    @property
    def caption_id(self) -> bytes | None:
        """The caption's identifier in the log; ``None`` if nothing was logged."""
        return None if self._handle is None else self._handle.id

    def privacy_cost(self) -> int:
        """Return the privacy cost of the states that were sent, as
        :func:`ugsd_privacy.dp.accounting.privacy_cost`; unbounded if the ledger cannot be read."""
        if self._session is None or self._handle is None:
            return 0
        try:
            with self.ledger_time() as timeout_s:
                budget = self._session.home.budget
                return budget.usage(self._handle.id, timeout_s=timeout_s).privacy_cost
        except PrivacyError:
            return UNBOUNDED_COST

    def _ready(self) -> Session:
        """Return the session and start the deadline of the next frame."""
        self._block_ends_s = monotonic() + min(self._deadline_s, self._call_remaining_s())
        try:
            with self._verifier_time() as timeout_s:
                ends_s = monotonic() + timeout_s
                if self._acquired is None:
                    self._acquired = self._links.acquire(timeout_s, self._holder)
                remaining_s = max(ends_s - monotonic(), 0.0)
                return self._acquired.session(remaining_s, only=self._session)
        except (TransportError, PrivacyError):
            self._lost = True
            raise

    def _sealed(self, session: Session, escalation: Escalation | None) -> SealedFrame:
        """Return a block's frame, or a cover frame without ``escalation``."""
        if self._session is None:
            self._session = session
            self._handle = session.home.egress.begin_caption(
                session.channel, recording=self.recording
            )
        assert self._session is session, "a caption uses one session"  # noqa: S101
        assert self._handle is not None  # noqa: S101
        channel, handle, egress = session.channel, self._handle, session.home.egress
        try:
            with self.ledger_time(self._block_ends_s - monotonic()) as timeout_s:
                if escalation is None:
                    return self._in_slices(
                        timeout_s,
                        lambda wait_s: egress.seal_cover_frame(channel, handle, timeout_s=wait_s),
                    )
                if len(escalation.state_positions):
                    escalation = replace(
                        escalation,
                        projection=session.projection,
                        projection_id=session.welcome.projections[session.projection],
                    )
                block, shape = escalation, self.traffic_shape
                return self._in_slices(
                    timeout_s,
                    lambda wait_s: egress.seal_block(
                        channel, handle, block, shape=shape, timeout_s=wait_s
                    ),
                )
        except WireError as error:
            raise TransportError(f"not sent: {error}", reason=ReasonCode.BLOCK_TOO_LARGE) from error
        except (LedgerError, ChannelError) as error:
            self._drop(error)  # an unsent frame may have used a counter of the channel
            raise

    def _send(self, frame: SealedFrame) -> None:
        self.frames += 1
        self.bytes_sent += len(frame.data)
        self._sent_s = self._no_answer_s = monotonic()
        try:
            self._current().send(frame)
        except TransportError as error:
            self._drop(error)
            raise

    def _receive(self) -> Verdict | Refusal | Cover:
        early, self._early = self._early, None
        if isinstance(early, Exception):
            raise early
        if early is not None:
            return early
        try:
            with self._verifier_time() as timeout_s:
                return self._read(timeout_s)
        except VerifierTimeout as error:
            if self._call_remaining_s() <= 0:  # the verifier may still have had time to answer
                raise self._out_of_time() from error
            self._link().question_failed(error)
            raise

    def _out_of_time(self) -> VerifierTimeout:
        return VerifierTimeout(
            "the time limit of the call leaves none for the verifier: allow more",
            reason=ReasonCode.CALL_TIMEOUT,
        )

    def _in_slices(self, timeout_s: float, work: Callable[[float], _Result]) -> _Result:
        """Return the result of ``work``, which waits for at most the seconds that it is given, and
        is tried for ``timeout_s``, but only for as long as the call lasts."""
        failure: Exception | None = None
        for wait_s in self._call.slices(timeout_s):
            started_s = monotonic()
            try:
                return work(wait_s)
            except (VerifierTimeout, LedgerUnavailable) as error:
                failure = error
                # Waiting longer would not help. A coarse clock may end a wait a little early.
                if monotonic() - started_s < wait_s / 2:
                    raise
        assert failure is not None  # noqa: S101
        raise failure

    def _read(
        self, timeout_s: float, *, came_at_s: float | None = None
    ) -> Verdict | Refusal | Cover:
        """Return the answer to the last frame, which came now unless ``came_at_s`` says when, and
        drop a session that is unusable."""
        try:
            answer, size = self._in_slices(timeout_s, self._current().receive)
            self._answered((monotonic() if came_at_s is None else came_at_s) - self._sent_s)
            self.bytes_received += size
            if self.traffic_shape is TrafficShape.CONSTANT and size != CONSTANT_FRAME_BYTES:
                raise VerifierMisbehaved(
                    f"the answer does not have the constant size: {ASK_OPERATOR}"
                )
        except VerifierTimeout:
            raise
        except (TransportError, PrivacyError) as error:
            self._drop(error)
            raise
        return answer

    def _link(self) -> VerifierConnection:
        assert self._acquired is not None, "seal() comes first"  # noqa: S101
        return self._acquired

    def _current(self) -> Session:
        assert self._session is not None, "seal() comes first"  # noqa: S101
        return self._session

    @contextmanager
    def _verifier_time(self) -> Iterator[float]:
        """Count a wait for the verifier; yield its timeout in seconds."""
        started_s = monotonic()
        try:
            with self.waiting.for_peer() as remaining_s:
                yield max(min(remaining_s, self._block_ends_s - started_s), 0.0)
        finally:
            self.waited_s += monotonic() - started_s

    @contextmanager
    def ledger_time(self, at_most_s: float | None = None) -> Iterator[float]:
        """Count a use of the ledger; yield the timeout for its lock in seconds, at most
        ``at_most_s``, and 0 after a wait for it has timed out in this caption."""
        try:
            with self.waiting.for_lock(0.0 if self._ledger_timed_out else at_most_s) as timeout_s:
                yield timeout_s
        except LedgerUnavailable:
            self._ledger_timed_out = True
            raise

    def _drop(self, error: Exception) -> Exception:
        """Drop the session because of ``error`` and return the error."""
        self._lost = True
        self._link().drop(error)
        return error

    @contextmanager
    def _recording_failure(self) -> Iterator[None]:
        try:
            yield
        except (TransportError, PrivacyError) as error:
            self._record_failure(error)
            raise

    def _record_failure(self, error: Exception) -> None:
        self.unverified_reason = self.unverified_reason or reason_of(error)
