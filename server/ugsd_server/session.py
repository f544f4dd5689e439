"""One device's connection, sans-I/O: frames in, frames out; the caller runs the model.

The caller passes every binary frame to :meth:`VerifierSession.receive` and gets one of

- :class:`Reply`: send its frame, then receive the next one;
- :class:`Work`: call its :meth:`~Work.run` (on any thread), pass the answer to
  :meth:`VerifierSession.finish`, send the reply; do not call ``receive`` in between;
- :class:`Close`: close the connection with its code and no reason.

::

    expecting hello --hello--> ready --block--> busy --finish--> ready
          \\                    |  \\__cover--> ready
          \\                     \\__bad frame__
           \\__bad hello_________________________\\__ closed

The answer to a frame of the constant size has the constant size; any other answer has the smallest
size that holds it. An answer too long for the constant size becomes the refusal ``too_large``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ugsd_privacy.errors import ChannelError, WireError
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ServerChannel
from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    decode_device_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from ugsd_server.errors import BlockRefused, SessionMisuse
from ugsd_server.metrics import Metrics
from ugsd_server.verifier.engine import CaptionState, Verifier

__all__ = ["Close", "Reply", "SessionLimits", "VerifierSession", "Work"]

_logger = logging.getLogger(__name__)
_POLICY_VIOLATION = (
    1008  # RFC 6455 §7.4.1; one code for every fault, so that a peer cannot tell them apart
)


@dataclass(frozen=True)
class SessionLimits:
    """Limits of one connection."""

    max_captions: int = 8
    """Captions in memory; one more replaces the least recently used."""


@dataclass(frozen=True)
class Reply:
    """A sealed frame to send."""

    frame: bytes


@dataclass(frozen=True)
class Close:
    """The connection has ended; close it with this code and no reason."""

    code: int = _POLICY_VIOLATION


@dataclass(frozen=True)
class Work:
    """A block to verify."""

    verifier: Verifier
    caption: CaptionState
    block: Block

    def run(self) -> Verdict | Refusal:
        """Verify the block. Slow; never raises."""
        try:
            return self.verifier.verify(self.caption, self.block)
        except BlockRefused as refused:
            return Refusal(code=refused.code)
        except Exception as error:
            _logger.error("a block could not be verified: %s", type(error).__name__)  # noqa: TRY400
            return Refusal(code=RefusalCode.INTERNAL)


class _Phase(Enum):
    EXPECTING_HELLO = auto()
    READY = auto()
    BUSY = auto()
    CLOSED = auto()


class VerifierSession:
    """The verifier's state of one connection, which a hello to one of ``keys`` opens."""

    def __init__(
        self,
        keys: Sequence[VerifierKey],
        verifier: Verifier,
        limits: SessionLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._verifier = verifier
        self._limits = limits or SessionLimits()
        self._metrics = metrics or Metrics()
        self._channel = ServerChannel(*keys)
        self._phase = _Phase.EXPECTING_HELLO
        self._captions: OrderedDict[int, CaptionState] = OrderedDict()
        self._newest = -1
        self._drafted = 0
        self._shape = TrafficShape.PADDED

    def receive(self, frame: bytes) -> Reply | Work | Close:
        """Process one frame with any bytes. Raises :class:`SessionMisuse` while a block is
        pending: call :meth:`finish` first."""
        match self._phase:
            case _Phase.EXPECTING_HELLO:
                return self._receive_hello(frame)
            case _Phase.READY:
                return self._receive_message(frame)
            case _Phase.BUSY:
                raise SessionMisuse("a block is pending: call finish() before receive()")
            case _Phase.CLOSED:
                return Close()

    def finish(self, answer: Verdict | Refusal) -> Reply | Close:
        """Seal the answer to the pending block. Raises :class:`SessionMisuse` without one."""
        if self._phase is not _Phase.BUSY:
            raise SessionMisuse("no block is pending: call receive() first")
        if isinstance(answer, Verdict):
            self._metrics.count_verdict(answer, drafted=self._drafted)
        return self._answer(answer)

    def _receive_hello(self, frame: bytes) -> Reply | Close:
        try:
            reply = self._channel.receive_hello(frame, encode(self._verifier.welcome()))
        except ChannelError:
            return self._reject()
        self._phase = _Phase.READY
        self._metrics.sessions_opened += 1
        return Reply(reply)

    def _receive_message(self, frame: bytes) -> Reply | Work | Close:
        try:
            message = self._channel.open(frame)
        except ChannelError:
            return self._reject()
        self._shape = TrafficShape.of(frame)
        try:
            block = decode_device_message(message)
            if isinstance(block, Cover):
                self._metrics.cover_frames += 1
                return self._answer(block)
            caption = self._caption(block)
        except WireError:
            return self._answer(Refusal(code=RefusalCode.BAD_MESSAGE))
        except BlockRefused as refused:
            return self._answer(Refusal(code=refused.code))
        self._phase = _Phase.BUSY
        self._drafted = len(block.tokens)
        return Work(self._verifier, caption, block)

    def _caption(self, block: Block) -> CaptionState:
        """Return the block's caption, a new one if its ordinal is above all earlier ones."""
        known = self._captions.get(block.caption)
        if known is not None:
            self._captions.move_to_end(block.caption)
            return known
        if block.caption <= self._newest or block.keep:
            raise BlockRefused(RefusalCode.UNKNOWN_PREFIX)
        self._newest = block.caption
        if len(self._captions) >= self._limits.max_captions:
            self._captions.popitem(last=False)
        self._captions[block.caption] = CaptionState()
        return self._captions[block.caption]

    def _answer(self, answer: Verdict | Refusal | Cover) -> Reply | Close:
        if isinstance(answer, Refusal):
            self._metrics.refusals[answer.code] += 1
        try:
            frame = self._channel.seal(encode(answer), self._shape)
        except WireError:
            return self._answer(Refusal(code=RefusalCode.TOO_LARGE))
        except ChannelError:
            return self._reject()
        self._phase = _Phase.READY
        return Reply(frame)

    def _reject(self) -> Close:
        self._phase = _Phase.CLOSED
        self._captions.clear()
        self._metrics.sessions_rejected += 1
        return Close()
