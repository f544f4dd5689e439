"""One caption's dealings with the verifier, within its deadlines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic

from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_privacy.egress import CaptionHandle, Escalation, SealedFrame
from ugsd_privacy.errors import (
    ChannelError,
    LedgerError,
    LedgerUnavailable,
    LogTampered,
    PrivacyError,
    WireError,
)
from ugsd_privacy.protocol.channel import CONSTANT_FRAME_BYTES, TrafficShape
from ugsd_privacy.protocol.messages import Cover, Refusal, Verdict
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.concurrency.waiting import WaitingTime
from ugsd_sdk.connection.verifier_connection import (
    ASK_OPERATOR,
    Session,
    VerifierConnection,
    reason_text_of,
)
from ugsd_sdk.errors import TransportError, VerifierMisbehaved, VerifierRefused, VerifierTimeout

__all__ = ["Exchange"]


class Exchange:
    """Seals, sends and receives the blocks of one caption; each call in turn, one block at a time.

    In the constant shape one frame leaves per caption: its first block, or a cover; what later
    blocks wanted is refused. Every failure is raised as a ``TransportError`` or ``PrivacyError``,
    after its consequence for the link was drawn and its reason was kept in ``unverified_reason``.
    """

    def __init__(
        self,
        link: VerifierConnection,
        *,
        deadline_s: float,
        waiting: WaitingTime,
        traffic_shape: TrafficShape = TrafficShape.PADDED,
    ) -> None:
        """``deadline_s`` is a block's, from its sealing to its verdict. All waits of the exchange,
        for the verifier and for the ledger, take from ``waiting``, the caption's."""
        self.traffic_shape = traffic_shape
        self.waiting = waiting
        self._link = link
        self._deadline_s = deadline_s
        self._block_ends_s = 0.0
        self._ledger_is_held = False
        """Whether a wait for the ledger has ended without it: a caption waits for it once."""
        self._session: Session | None = None
        self._handle: CaptionHandle | None = None
        self._lost = False
        """Whether there was no session, or none any more."""
        self.frames = self.bytes_sent = self.bytes_received = 0
        self.waited_s = 0.0
        """Time spent on nothing but waiting for the verifier."""
        self.unverified_reason: Reason | None = None
        """The first failure's reason."""

    def seal(self, escalation: Escalation) -> SealedFrame:
        """Get ``escalation`` past the budget and into a frame. Where it raises, nothing left."""
        with self._recording_failure():
            if self.traffic_shape is TrafficShape.CONSTANT and self.frames:
                raise TransportError(
                    "in constant shape one frame leaves per caption",
                    reason=ReasonCode.CONSTANT_SHAPE,
                )
            session = self._ready()
            end = escalation.keep + len(escalation.prefix) + len(escalation.tokens)
            if end > session.welcome.max_tokens:
                raise TransportError(
                    "the caption is longer than the verifier reads",
                    reason=ReasonCode.BEYOND_VERIFIER,
                )
            return self._sealed(session, escalation)

    def send(self, frame: SealedFrame) -> None:
        """Send a sealed block. Where it raises, it may have left all the same."""
        with self._recording_failure():
            self._send(frame)

    def receive(self) -> Verdict:
        """The verdict on the block that was sent, or the failure that stands in its place."""
        with self._recording_failure():
            answer = self._receive()
            if isinstance(answer, Refusal):
                raise VerifierRefused(str(answer.code))
            handle = self._handle
            if handle is None or isinstance(answer, Cover) or answer.caption != handle.ordinal:
                raise self._drop(
                    VerifierMisbehaved(f"no verdict, or one on another caption: {ASK_OPERATOR}")
                )
            return answer

    def send_cover_if_due(self) -> None:
        """In the constant shape, make a caption of which nothing left look like any other: send a
        cover where there is a session, and wait for its answer as for a block's.

        A failure has its consequence for the link, and does not raise; nor does it degrade the
        caption, for no token was to be verified.
        """
        if self.traffic_shape is not TrafficShape.CONSTANT or self.frames or self._lost:
            return
        with suppress(TransportError, PrivacyError):
            self._send(self._sealed(self._ready(), None))
            if not isinstance(self._receive(), Cover):
                raise self._drop(
                    VerifierMisbehaved(f"a cover frame was answered by no cover: {ASK_OPERATOR}")
                )
            self._link.succeeded()

    def verdict_rejected(self, error: VerifierMisbehaved) -> None:
        """The decoder could not use the verdict."""
        self._record_failure(self._drop(error))

    def verdict_accepted(self) -> None:
        """The decoder used the verdict."""
        self._link.succeeded()

    def receipts(self) -> tuple[Receipt, ...]:
        """Receipts of what left; none, and a reason, where the log cannot give them."""
        if self._session is None or self._handle is None:
            return ()
        try:
            with self.ledger_time() as timeout_s:
                checkpoints = self._session.home.checkpoints
                receipts = checkpoints.receipts(self._handle.id, timeout_s=timeout_s)
        except PrivacyError as error:
            if isinstance(error, LogTampered):
                self._link.drop(error)  # connecting again checks the log before anything leaves
            self._record_failure(error)
            return ()
        return tuple(receipts)

    @property
    def caption_id(self) -> bytes | None:
        """What the log calls this caption; ``None`` where nothing of it was logged."""
        return None if self._handle is None else self._handle.id

    def privacy_cost(self) -> int:
        """Of the states that left, see :func:`ugsd_privacy.dp.accounting.spend`; unbounded where
        the ledger
        cannot tell."""
        if self._session is None or self._handle is None:
            return 0
        try:
            with self.ledger_time() as timeout_s:
                budget = self._session.home.budget
                return budget.usage(self._handle.id, timeout_s=timeout_s).privacy_cost
        except PrivacyError:
            return UNBOUNDED_COST

    def remaining(self, limits: BudgetLimits) -> Mapping[str, float]:
        """What the caps still allow, ``limits`` or less; nothing where the ledger is unreadable."""
        if self._session is None:
            return limits.remaining({})
        try:
            caption = None if self._handle is None else self._handle.id
            with self.ledger_time() as timeout_s:
                return self._session.home.budget.remaining(caption, timeout_s=timeout_s)
        except PrivacyError:
            return dict.fromkeys(limits.remaining({}), 0.0)

    def _ready(self) -> Session:
        """The session, and from now on the deadline of what is sent over it."""
        self._block_ends_s = monotonic() + self._deadline_s
        try:
            with self._awaiting() as left_s:
                return self._link.session(left_s, only=self._session)
        except (TransportError, PrivacyError):
            self._lost = True
            raise

    def _sealed(self, session: Session, escalation: Escalation | None) -> SealedFrame:
        """A block's frame, or a cover's."""
        if self._session is None:
            self._session = session
            self._handle = session.home.egress.begin_caption(session.channel)
        assert self._session is session, "a caption keeps to one session"  # noqa: S101
        assert self._handle is not None  # noqa: S101
        channel, handle, egress = session.channel, self._handle, session.home.egress
        try:
            with self.ledger_time(self._block_ends_s - monotonic()) as timeout_s:
                if escalation is None:
                    return egress.seal_cover_frame(channel, handle, timeout_s=timeout_s)
                return egress.seal_block(
                    channel, handle, escalation, shape=self.traffic_shape, timeout_s=timeout_s
                )
        except WireError as error:
            raise TransportError(f"not sent: {error}", reason=ReasonCode.BLOCK_TOO_LARGE) from error
        except (LedgerError, ChannelError) as error:
            self._drop(error)  # a frame may exist that was not sent: its counter is used
            raise

    def _send(self, frame: SealedFrame) -> None:
        self.frames += 1
        self.bytes_sent += len(frame.data)
        try:
            self._current().send(frame)
        except TransportError as error:
            self._drop(error)
            raise

    def _receive(self) -> Verdict | Refusal | Cover:
        try:
            with self._awaiting() as left_s:
                answer, size = self._current().receive(left_s)
            self.bytes_received += size
            if self.traffic_shape is TrafficShape.CONSTANT and size != CONSTANT_FRAME_BYTES:
                raise VerifierMisbehaved(
                    f"an answer of another size than the constant one: {ASK_OPERATOR}"
                )
        except VerifierTimeout:
            raise
        except (TransportError, PrivacyError) as error:
            self._drop(error)
            raise
        return answer

    def _current(self) -> Session:
        assert self._session is not None, "seal() comes first"  # noqa: S101
        return self._session

    @contextmanager
    def _awaiting(self) -> Iterator[float]:
        """Wait for the verifier: gives the longest, in seconds."""
        started_s = monotonic()
        try:
            with self.waiting.spending() as left_s:
                yield max(min(left_s, self._block_ends_s - started_s), 0.0)
        finally:
            self.waited_s += monotonic() - started_s

    @contextmanager
    def ledger_time(self, at_most_s: float | None = None) -> Iterator[float]:
        """Use the ledger: gives the longest to wait for it, in seconds and at most ``at_most_s``;
        0 once a wait for it has failed in this caption."""
        try:
            with self.waiting.locking(0.0 if self._ledger_is_held else at_most_s) as timeout_s:
                yield timeout_s
        except LedgerUnavailable:
            self._ledger_is_held = True
            raise

    def _drop(self, error: Exception) -> Exception:
        """Give the session up because of ``error``, which is returned."""
        self._lost = True
        self._link.drop(error)
        return error

    @contextmanager
    def _recording_failure(self) -> Iterator[None]:
        try:
            yield
        except (TransportError, PrivacyError) as error:
            self._record_failure(error)
            raise

    def _record_failure(self, error: Exception) -> None:
        self.unverified_reason = self.unverified_reason or reason_text_of(error)
