"""The egress: the only code that produces data for sending.

A device sends nothing but :class:`SealedFrame` objects, and only this module creates them: after
the cost was checked against the caps, and after charge and log leaf were committed in one durable
transaction. A crash at any point may waste budget, but never sends an unlogged byte. Transports
accept nothing else. A lint enforces this for our own code; Python cannot enforce it, so it does not
defend against a hostile host application.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from fractions import Fraction
from operator import index as exact_int
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ugsd_privacy.audit.bodies import Epoch
from ugsd_privacy.audit.recording import record_of
from ugsd_privacy.audit.records import BLOCK_FIELDS, RECORDING_VERSION, SALT_BYTES, Leaf, LogLevel
from ugsd_privacy.budget import BudgetLimits, Usage, check_caps
from ugsd_privacy.dp.accounting import block_privacy_cost
from ugsd_privacy.dp.mechanism import (
    MAX_SIGMA,
    QUANTISATION_STEPS,
    clip,
    exponent_of,
    noised,
    quantise,
)
from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.errors import RecordingRefused, WireError
from ugsd_privacy.keys.owner import OwnerPublicKey
from ugsd_privacy.ledger import EgressTransaction, Ledger, Uptime, system_uptime
from ugsd_privacy.protocol.channel import HELLO_BYTES, ClientChannel
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_STATE_DIM,
    AskedSlot,
    Block,
    ContinueTo,
    Cover,
    Disclosure,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.user_names import require_normal_user

__all__ = ["CaptionHandle", "Egress", "Escalation", "SealedFrame", "require_recording_id"]

_EGRESS_TOKEN: Final = object()
_CAPTION_ID_BYTES = _RECORDING_ID_BYTES = 16
_EPOCH_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """Bytes that were charged, sealed and logged. Only :class:`Egress` creates one."""

    data: bytes
    """The bytes to send, whole and in the order in which frames were sealed."""
    record: int
    """Index of the frame's leaf in the log."""
    egress_token: InitVar[object]

    def __post_init__(self, egress_token: object) -> None:
        if egress_token is not _EGRESS_TOKEN:
            raise TypeError("only the egress creates a SealedFrame: call Egress.seal_block")


@dataclass(frozen=True, slots=True)
class CaptionHandle:
    """A caption whose blocks the egress seals."""

    ordinal: int
    """The caption's number within ``channel``'s session; verdicts echo it."""
    id: bytes
    """16 random bytes that name the caption in the log; they are never sent."""
    channel: ClientChannel = field(repr=False)
    recording: bytes | None = None
    """16 random bytes that name the recording it belongs to, if any; they are never sent."""


@dataclass(frozen=True, slots=True, eq=False)
class Escalation:
    """What the policy wants to disclose with one block; the fields are those of ``Block``.

    ``states`` is float32 ``(len(state_positions), B)``, with B at most ``MAX_STATE_DIM``, as the
    drafter computed them. The positions are those that ``disclosure`` allows, or fewer: none for
    ``tokens``, 0 for ``summary`` and ``distributions``, those of the block for ``block_states``,
    all from ``keep`` on for ``all_states``. ``projection`` is the index of the states' projection
    in the verifier's welcome. ``distributions`` has ``draft_weights``, and no other level does.
    """

    disclosure: Disclosure
    keep: int
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    state_positions: tuple[int, ...]
    states: NDArray[np.float32]
    slot: AskedSlot = AskedSlot.ANY_TOKEN
    continue_to: ContinueTo = ContinueTo.NOTHING
    projection: int = 0
    projection_id: bytes = b""
    """SHA-256 of that projection. It is logged, so that the owner's tools know what the numbers
    are, and not sent."""
    draft_weights: bytes = b""


class Egress:
    """Seals frames and charges them to one ``user``'s budget.

    Threads may share it, but each needs its own channel. ``ledger`` must be open. Records are
    sealed to ``owner``: at ``level`` ``content`` with the message that was sent, at ``record`` with
    its counts only. ``sigma`` is the standard deviation of the noise that is added to each
    coordinate of a state, in units of ``clip_norm``; ``None`` adds no noise, and then a cap on
    epsilon blocks every state. ``clock`` returns Unix time in seconds, ``uptime`` how long the
    machine has been running, and ``entropy(n)`` n random bytes for salts, caption ids, epochs and
    noise.

    A method's ``timeout_s`` is how many seconds it waits at most for other threads and processes
    that use the ledger, before it raises :class:`LedgerUnavailable`; ``None`` uses the ledger's own
    limit. It does not cover a disk that hangs: a commit returns once the data is on disk.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        owner: OwnerPublicKey,
        limits: BudgetLimits,
        user: str = "",
        clip_norm: float = 1.0,
        sigma: float | None = None,
        level: LogLevel = "content",
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = system_uptime,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not (math.isfinite(clip_norm) and clip_norm > 0):
            raise ValueError("clip_norm must be a positive number")
        if sigma is not None and not 0 < sigma <= MAX_SIGMA:
            raise ValueError(f"sigma must be a positive number up to {MAX_SIGMA:g}, or None")
        if user:
            require_normal_user(user)
        self._ledger = ledger
        self._owner = owner
        self._level = level
        self._epoch: Epoch | None = None
        """Set once our first record is committed."""
        self._limits = limits
        self._user = user
        self._clip_norm = clip_norm
        self._sigma = sigma
        self._noise: RoundedGaussian | None = None
        """Created for the first state that needs it."""
        self._clock = clock
        self._uptime = uptime
        self._entropy = entropy

    def begin_caption(
        self,
        channel: ClientChannel,
        *,
        recording: bytes | None = None,
        continues: CaptionHandle | None = None,
    ) -> CaptionHandle:
        """Return a handle for a new caption in ``channel``'s session.

        ``recording``, 16 random bytes, is the id of the recording that the caption belongs to: all
        captions of one recording share its caps, in whatever channel and process they are made.
        ``continues`` moves a caption over from a lost session: it gets a new ordinal, it stays in
        its recording, and what it has used of its caps still counts. Raises
        :class:`RecordingRefused` for another id.
        """
        if continues is not None:
            return CaptionHandle(channel.next_caption(), continues.id, channel, continues.recording)
        require_recording_id(recording)
        name = self._entropy(_CAPTION_ID_BYTES)
        return CaptionHandle(channel.next_caption(), name, channel, recording)

    def seal_hello(self, channel: ClientChannel, *, timeout_s: float | None = None) -> SealedFrame:
        """Seal the handshake's first flight, charged to every window except those of a caption and
        a recording.

        Raises :class:`BudgetExceeded`, :class:`LedgerUnavailable`, :class:`LedgerCorrupt`,
        :class:`HandshakeFailed` or :class:`ChannelClosed`; then there is nothing to send.
        """
        cost = Usage(frames=1, bytes=HELLO_BYTES)
        return self._commit(channel, None, channel.hello, cost, {"kind": "hello"}, timeout_s)

    def seal_block(
        self,
        channel: ClientChannel,
        caption: CaptionHandle,
        escalation: Escalation,
        *,
        shape: TrafficShape = TrafficShape.PADDED,
        timeout_s: float | None = None,
    ) -> SealedFrame:
        """Clip, noise and quantise a block's states, then charge, seal and log it atomically.

        Draft weights have no noise: with them a block's privacy cost is unbounded, whatever sigma.
        Raises :class:`WireError` if the schema, ``disclosure`` or the frames of ``shape`` do not
        allow the block, and :class:`BudgetExceeded` if a cap does not; the channel is unchanged.
        Raises :class:`LedgerUnavailable` or :class:`LedgerCorrupt`, and closes the channel if the
        block was sealed already, because a frame counter was used. Raises :class:`ChannelClosed`
        without a session. In each case there is nothing to send.
        """
        _check(channel, caption)
        _check_states(escalation)
        block = _block(caption, escalation, *self._encoded_states(escalation.states))
        fields: dict[str, Any] = {name: getattr(block, name) for name in BLOCK_FIELDS}
        fields |= {
            "kind": "block",
            "disclosure": escalation.disclosure,
            "num_draft_weights": len(block.draft_weights),
            "spend": block_privacy_cost(
                self._sigma,
                num_states=len(block.state_positions),
                has_draft_weights=bool(block.draft_weights),
            ),
        }
        if block.state_positions:
            fields |= {"sigma": self._sigma, "projection_id": escalation.projection_id}
        disclosed = Usage(
            blocks=1,
            tokens=len(block.prefix) + len(block.tokens),
            privacy_cost=fields["spend"],
        )
        return self._seal(channel, caption, encode(block), shape, disclosed, fields, timeout_s)

    def seal_cover_frame(
        self, channel: ClientChannel, caption: CaptionHandle, *, timeout_s: float | None = None
    ) -> SealedFrame:
        """Seal a cover frame in constant shape; it is charged by its bytes and logged like a block.

        Raises as :meth:`seal_block`. A cap on frames or bytes blocks a cover frame exactly when it
        would block a block, so that an exhausted budget reveals nothing about the voice.
        """
        _check(channel, caption)
        message = encode(Cover())
        fields: dict[str, Any] = {"kind": "cover"}
        return self._seal(
            channel, caption, message, TrafficShape.CONSTANT, Usage(), fields, timeout_s
        )

    def _encoded_states(self, states: NDArray[np.float32]) -> tuple[bytes, int]:
        """Clip ``states``, add noise if it is configured, and quantise them to int8; return them
        with their exponent."""
        clipped = clip(states, self._clip_norm)
        if self._sigma is None or not len(states):
            return quantise(clipped, self._clip_norm), 0
        if self._noise is None:
            units = Fraction(self._sigma) * QUANTISATION_STEPS
            self._noise = RoundedGaussian(units, self._entropy)
        exponent = exponent_of(self._sigma)
        return noised(clipped, self._clip_norm, self._noise, exponent), exponent

    def _seal(
        self,
        channel: ClientChannel,
        caption: CaptionHandle,
        message: bytes,
        shape: TrafficShape,
        disclosed: Usage,
        fields: dict[str, Any],
        timeout_s: float | None,
    ) -> SealedFrame:
        cost = disclosed + Usage(frames=1, bytes=channel.sealed_size(len(message), shape))
        fields |= {"caption": caption.ordinal, "caption_id": caption.id}
        if caption.recording is not None:
            fields |= {"version": RECORDING_VERSION, "recording_id": caption.recording}
        if self._level == "content":
            fields["message"] = message
        return self._commit(
            channel, caption, lambda: channel.seal(message, shape), cost, fields, timeout_s
        )

    def _commit(
        self,
        channel: ClientChannel,
        caption: CaptionHandle | None,
        seal: Callable[[], bytes],
        cost: Usage,
        fields: dict[str, Any],
        timeout_s: float | None,
    ) -> SealedFrame:
        """Check the caps, seal, and write charge and leaf, all in one transaction."""
        now_s, salt = self._clock(), self._entropy(SALT_BYTES)
        with (
            _closed_on_failure(channel),
            self._transaction(caption, now_s, timeout_s) as transaction,
        ):
            limits = self._limits.with_stricter_caps(transaction.caps(self._user))
            check_caps(limits, cost, transaction.before)
            data = seal()
            fields |= {
                "frame_bytes": len(data),
                "frame_sha256": hashlib.sha256(data).digest(),
                "verifier": channel.pinned.fingerprint,
            }
            epoch = self._record(transaction, fields, cost, now_s, salt)
        self._epoch = epoch  # only after the commit: a rolled back epoch has no row
        return SealedFrame(data, transaction.index, _EGRESS_TOKEN)

    def _record(
        self,
        transaction: EgressTransaction,
        fields: Mapping[str, Any],
        cost: Usage,
        now_s: float,
        salt: bytes,
    ) -> Epoch:
        """Write the record and return the epoch that sealed it."""
        record = record_of(
            transaction,
            fields,
            user=self._user,
            clip_norm=self._clip_norm,
            delta=self._limits.delta,
            now_s=now_s,
        )
        charge = record.charge
        if charge != cost:  # our own bug; nothing may be sent at a wrong charge
            raise RuntimeError("the sealed frame does not have the cost that was checked")
        body = record.to_bytes()
        content, epoch = Leaf.from_body(body, charge, salt).to_bytes(), self._epoch
        if epoch is None:
            secret = self._entropy(_EPOCH_SECRET_BYTES)
            epoch = Epoch.create(transaction.index, secret, self._owner)
        sealed = epoch.seal(transaction.index, content, salt, body)
        transaction.record(charge, content=content, sealed=sealed)
        if epoch.number == transaction.index:
            transaction.begin_epoch(self._owner.digest, epoch.sealed)
        return epoch

    @contextmanager
    def _transaction(
        self, caption: CaptionHandle | None, now_s: float, timeout_s: float | None = None
    ) -> Iterator[EgressTransaction]:
        with self._ledger.begin_egress(
            user=self._user,
            caption=None if caption is None else caption.id,
            recording=None if caption is None else caption.recording,
            now_s=now_s,
            uptime=self._uptime(),
            timeout_s=timeout_s,
        ) as transaction:
            yield transaction


def require_recording_id(recording: object) -> None:
    """Raise :class:`RecordingRefused` unless ``recording`` is 16 bytes, or ``None``."""
    is_id = type(recording) is bytes and len(recording) == _RECORDING_ID_BYTES
    if recording is not None and not is_id:
        raise RecordingRefused(
            f"the id of a recording must be {_RECORDING_ID_BYTES} random bytes: give it the same "
            f"os.urandom({_RECORDING_ID_BYTES}) for all of its captions"
        )


@contextmanager
def _closed_on_failure(channel: ClientChannel) -> Iterator[None]:
    """Close the channel if anything fails after it sealed a frame, which must not be sent."""
    sealed = channel.sealed_count
    try:
        yield
    except BaseException:
        if channel.sealed_count != sealed:
            channel.close()
        raise


def _check(channel: ClientChannel, caption: CaptionHandle) -> None:
    if caption.channel is not channel:
        raise WireError("the caption belongs to another session: call begin_caption(continues=...)")


def _check_states(escalation: Escalation) -> None:
    states = escalation.states
    if states.ndim != 2 or states.dtype != np.float32 or states.shape[1] > MAX_STATE_DIM:
        raise WireError(f"states must be float32 (n, B) with B at most {MAX_STATE_DIM}")
    if len(states) != len(escalation.state_positions) or len(states) > MAX_CAPTION_TOKENS:
        raise WireError("states and state_positions differ in length")
    if not np.isfinite(states).all():
        raise WireError("a state has a coordinate that is not finite")


def _block(
    caption: CaptionHandle, escalation: Escalation, quantised: bytes, exponent: int
) -> Block:
    try:
        block = Block(
            caption=caption.ordinal,
            slot=escalation.slot,
            tokens=tuple(map(exact_int, escalation.tokens)),
            state_positions=tuple(map(exact_int, escalation.state_positions)),
            states=quantised,
            projection=exact_int(escalation.projection),
            keep=exact_int(escalation.keep),
            prefix=tuple(map(exact_int, escalation.prefix)),
            continue_to=escalation.continue_to,
            exponent=exponent,
            draft_weights=escalation.draft_weights,
        )
    except (TypeError, ValidationError):
        raise WireError(
            "the escalation is not a valid block; see ugsd_privacy.protocol.messages.Block"
        ) from None
    allowed = {
        Disclosure.TOKENS: range(0),
        Disclosure.SUMMARY: range(1),
        Disclosure.BLOCK_STATES: range(block.start, block.end),
        Disclosure.ALL_STATES: range(block.keep, block.end),
        Disclosure.DISTRIBUTIONS: range(1),
    }[escalation.disclosure]
    if any(position not in allowed for position in block.state_positions):
        raise WireError(f"a state at a position that {escalation.disclosure} does not disclose")
    if bool(block.draft_weights) != (escalation.disclosure is Disclosure.DISTRIBUTIONS):
        raise WireError(f"draft weights belong to {Disclosure.DISTRIBUTIONS}, which must have them")
    return block
