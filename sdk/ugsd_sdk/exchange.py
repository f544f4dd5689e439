"""One caption's dealings with the verifier, within its deadlines."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.egress import CaptionHandle, Escalation, SealedFrame
from ugsd_privacy.errors import ChannelError, LedgerError, LogTampered, PrivacyError, WireError
from ugsd_privacy.wire import Refusal, Verdict

from ugsd_sdk.errors import NoAnswer, PeerMisbehaved, Refused, TransportError
from ugsd_sdk.link import Link, Session, reason_of

__all__ = ["Exchange"]


class Exchange:
    """Seals, sends and receives the blocks of one caption; each call in turn, one block at a time.

    Every failure is raised as a ``TransportError`` or ``PrivacyError``, after its consequence for
    the link was drawn and its reason was kept in ``degraded``.
    """

    def __init__(self, link: Link, *, deadline_s: float, caption_deadline_s: float) -> None:
        self._link = link
        self._deadline_s = deadline_s
        self._left_s = caption_deadline_s
        self._block_ends_s = 0.0
        self._session: Session | None = None
        self._handle: CaptionHandle | None = None
        self.frames = self.bytes_sent = self.bytes_received = 0
        self.waited_s = 0.0
        """Time spent on nothing but waiting."""
        self.degraded: str | None = None
        """The first failure's reason."""

    def seal(self, escalation: Escalation) -> SealedFrame:
        """Get ``escalation`` past the budget and into a frame. Where it raises, nothing left."""
        started_s = monotonic()
        self._block_ends_s = started_s + self._deadline_s
        try:
            session = self._link.session(min(self._deadline_s, self._left_s), only=self._session)
        except (TransportError, PrivacyError) as error:
            raise self._noted(error) from None
        finally:
            self._spend(started_s)
        try:
            return self._sealed(session, escalation)
        except (TransportError, PrivacyError) as error:
            if isinstance(error, (LedgerError, ChannelError)):
                self._link.drop(error)  # a frame may exist that was not sent: its counter is used
            raise self._noted(error) from None

    def send(self, frame: SealedFrame) -> None:
        """Send a sealed block. Where it raises, it may have left all the same."""
        self.frames += 1
        self.bytes_sent += len(frame.data)
        try:
            self._current().send(frame)
        except TransportError as error:
            self._link.drop(error)
            raise self._noted(error) from None

    def receive(self) -> Verdict:
        """The verdict on the block that was sent, or the failure that stands in its place."""
        session, handle = self._current(), self._handle
        started_s = monotonic()
        try:
            answer, size = session.receive(min(self._block_ends_s - started_s, self._left_s))
            self.bytes_received += size
            if isinstance(answer, Refusal):
                raise Refused(str(answer.code))
            if handle is None or answer.caption != handle.ordinal:
                raise PeerMisbehaved("a verdict on another caption")
        except (TransportError, PrivacyError) as error:
            if not isinstance(error, (NoAnswer, Refused)):
                self._link.drop(error)
            raise self._noted(error) from None
        finally:
            self._spend(started_s)
        return answer

    def misfit(self, error: PeerMisbehaved) -> None:
        """The decoder could not use the verdict."""
        self._link.drop(error)
        self._noted(error)

    def fitted(self) -> None:
        """The decoder used the verdict."""
        self._link.succeeded()

    def receipts(self) -> tuple[Receipt, ...]:
        """Receipts of what left; none, and a reason, where the log cannot give them."""
        if self._session is None or self._handle is None:
            return ()
        try:
            return tuple(self._session.egress.receipts(self._handle))
        except PrivacyError as error:
            if isinstance(error, LogTampered):
                self._link.drop(error)  # connecting again checks the log before anything leaves
            self._noted(error)
            return ()

    def left(self, limits: BudgetLimits) -> Mapping[str, float]:
        """What the caps still allow; nothing where the ledger cannot be read."""
        caps = {name: cap for name, cap in limits.model_dump().items() if cap is not None}
        windows = {"day": Usage(), "caption": Usage()}
        try:
            if self._session is not None:
                windows["day"] = self._session.egress.usage_today()
            if self._session is not None and self._handle is not None:
                windows["caption"] = self._session.egress.usage(self._handle)
        except PrivacyError:
            return dict.fromkeys(caps, 0.0)
        left = {}
        for name, cap in caps.items():
            measure, window = name.split("_per_")
            left[name] = max(0.0, cap - getattr(windows[window], measure))
        return left

    def _sealed(self, session: Session, escalation: Escalation) -> SealedFrame:
        end = escalation.keep + len(escalation.prefix) + len(escalation.tokens)
        if end > session.welcome.max_tokens:
            raise TransportError(
                "the caption is longer than the verifier reads", reason="beyond the verifier"
            )
        if self._session is None:
            self._session, self._handle = session, session.egress.begin_caption(session.channel)
        assert self._session is session, "a caption keeps to one session"  # noqa: S101
        assert self._handle is not None  # noqa: S101
        try:
            return session.egress.seal_block(session.channel, self._handle, escalation)
        except WireError as error:
            raise TransportError(f"not sent: {error}", reason="block too large") from error

    def _current(self) -> Session:
        assert self._session is not None, "seal() comes first"  # noqa: S101
        return self._session

    def _spend(self, started_s: float) -> None:
        spent_s = monotonic() - started_s
        self.waited_s += spent_s
        self._left_s -= spent_s

    def _noted(self, error: Exception) -> Exception:
        self.degraded = self.degraded or reason_of(error)
        return error
