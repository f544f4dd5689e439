"""The one door out of the device.

Nothing leaves but a :class:`SealedFrame`, and only this module makes one: after its cost was
checked against the caps, and its charge and its log leaf were committed in one durable transaction.
A crash at any point may waste budget; it never sends an unlogged byte. Transports accept nothing
else. This is a discipline for our own code, kept by a lint: Python has no walls, so it is no
defence against a hostile host app.
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
from ugsd_privacy.audit.records import BLOCK_FIELDS, SALT_BYTES, Leaf, LogLevel
from ugsd_privacy.budget import BudgetLimits, Usage, check_caps
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import (
    MAX_SIGMA,
    QUANTISATION_STEPS,
    clip,
    noised,
    quantise,
)
from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.errors import WireError
from ugsd_privacy.keys.owner import OwnerPublicKey
from ugsd_privacy.ledger import EgressTransaction, Ledger, Uptime, system_uptime
from ugsd_privacy.protocol.channel import HELLO_BYTES, ClientChannel, TrafficShape
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_STATE_DIM,
    Block,
    Cover,
    Disclosure,
    encode,
)
from ugsd_privacy.user_names import require_normal_user

__all__ = ["CaptionHandle", "Egress", "Escalation", "SealedFrame"]

_EGRESS_TOKEN: Final = object()
_CAPTION_ID_BYTES = 16
_EPOCH_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """Bytes that were budgeted, sealed and logged. Only :class:`Egress` makes one."""

    data: bytes
    """What to send, whole, in the order of making."""
    record: int
    """Index of its leaf in the log."""
    door: InitVar[object]

    def __post_init__(self, egress_token: object) -> None:
        if egress_token is not _EGRESS_TOKEN:
            raise TypeError("only the egress makes a SealedFrame: see Egress.seal_block")


@dataclass(frozen=True, slots=True)
class CaptionHandle:
    """A caption, to the door."""

    ordinal: int
    """Its number on the wire, within ``channel``'s session; verdicts echo it."""
    id: bytes
    """16 random bytes that name the caption in the log; they never leave."""
    channel: ClientChannel = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Escalation:
    """What the policy wants to disclose with one block; fields as in :class:`wire.Block`.

    ``states`` is float32 ``(len(state_positions), B)``, B at most ``MAX_STATE_DIM``, as the drafter
    made them. The positions must be those that ``disclosure`` names, or fewer: none for ``tokens``,
    0 for ``summary``, those of the block for ``block_states``, from ``keep`` on for ``all_states``.
    """

    disclosure: Disclosure
    keep: int
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    state_positions: tuple[int, ...]
    states: NDArray[np.float32]


class Egress:
    """The door for one ``user``'s budget. Safe to share between threads, one channel to each.

    ``ledger`` must be open. What left is kept sealed to ``owner``: at ``level`` ``content`` all of
    it, at ``record`` what of it is counted. ``sigma`` is the standard deviation of the
    noise that is added to each coordinate of a state, in units of ``clip_norm``; ``None`` adds
    none, and then a cap on epsilon keeps states in. ``clock`` gives Unix time in seconds,
    ``uptime`` how long the machine has been running; ``entropy(n)`` gives n random bytes, for
    salts, caption ids, epochs and noise.

    Wherever a method takes ``timeout_s``, that is how many seconds it waits at most for other
    threads and processes that use the ledger, before :class:`LedgerUnavailable`; ``None`` leaves it
    to the ledger. (A disk that hangs is not covered: a commit ends when it is on the disk.)
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
        """Begins with our first record that stands."""
        self._limits = limits
        self._user = user
        self._clip_norm = clip_norm
        self._sigma = sigma
        self._noise: RoundedGaussian | None = None
        """Made with the first state that it is for."""
        self._clock = clock
        self._uptime = uptime
        self._entropy = entropy

    def begin_caption(
        self, channel: ClientChannel, *, continues: CaptionHandle | None = None
    ) -> CaptionHandle:
        """Name a caption within ``channel``'s session.

        ``continues`` carries a caption over from a lost session: it gets a new ordinal and keeps
        what it used of its caps.
        """
        name = self._entropy(_CAPTION_ID_BYTES) if continues is None else continues.id
        return CaptionHandle(channel.next_caption(), name, channel)

    def seal_hello(self, channel: ClientChannel, *, timeout_s: float | None = None) -> SealedFrame:
        """Make the handshake's first flight, charged to every window but a caption's.

        Raises :class:`BudgetExceeded`, :class:`LedgerUnavailable`, :class:`LedgerCorrupt`,
        :class:`HandshakeFailed` or :class:`ChannelClosed`; then nothing leaves.
        """
        cost = Usage(frames=1, bytes=HELLO_BYTES)
        return self._passed(channel, None, channel.hello, cost, {"kind": "hello"}, timeout_s)

    def seal_block(
        self,
        channel: ClientChannel,
        caption: CaptionHandle,
        escalation: Escalation,
        *,
        shape: TrafficShape = TrafficShape.PADDED,
        timeout_s: float | None = None,
    ) -> SealedFrame:
        """Let one block out: check, clip, noise, quantise, price, then charge, seal and log as one.

        Raises :class:`WireError` for what the schema cannot say, says otherwise than
        ``disclosure``, or no frame of ``shape`` holds, and :class:`BudgetExceeded` for a cap: the
        channel is as it was. :class:`LedgerUnavailable` or :class:`LedgerCorrupt` once it was
        sealed closes the channel, for a counter was used. :class:`ChannelClosed` without a session.
        In each case nothing leaves.
        """
        _check(channel, caption)
        _check_states(escalation)
        block = _block(caption, escalation, self._on_the_wire(escalation.states))
        carried: dict[str, Any] = {name: getattr(block, name) for name in BLOCK_FIELDS}
        carried |= {"kind": "block", "disclosure": escalation.disclosure}
        if block.state_positions:
            carried |= {"sigma": self._sigma, "spend": self._spend(len(block.state_positions))}
        disclosed = Usage(
            blocks=1,
            tokens=len(block.prefix) + len(block.tokens),
            privacy_cost=carried.get("spend", 0),
        )
        return self._sealed(channel, caption, encode(block), shape, disclosed, carried, timeout_s)

    def seal_cover_frame(
        self, channel: ClientChannel, caption: CaptionHandle, *, timeout_s: float | None = None
    ) -> SealedFrame:
        """Let a cover out, in the constant shape: charged by its bytes and logged as a block is.

        Raises as :meth:`seal_block`. A cap on frames or bytes refuses a cover where it would a
        block, so that what a spent budget keeps in does not depend on the voice.
        """
        _check(channel, caption)
        message = encode(Cover())
        carried: dict[str, Any] = {"kind": "cover"}
        return self._sealed(
            channel, caption, message, TrafficShape.CONSTANT, Usage(), carried, timeout_s
        )

    def _on_the_wire(self, states: NDArray[np.float32]) -> bytes:
        """Clipped, noised if need be, and as int8."""
        clipped = clip(states, self._clip_norm)
        if self._sigma is None or not len(states):
            return quantise(clipped, self._clip_norm)
        if self._noise is None:
            units = Fraction(self._sigma) * QUANTISATION_STEPS
            self._noise = RoundedGaussian(units, self._entropy)
        return noised(clipped, self._clip_norm, self._noise)

    def _spend(self, vectors: int) -> int:
        """Of so many states."""
        if self._sigma is None:
            return dp.UNBOUNDED_COST
        return dp.privacy_cost(sensitivity=dp.STATE_SENSITIVITY, sigma=self._sigma, vectors=vectors)

    def _sealed(
        self,
        channel: ClientChannel,
        caption: CaptionHandle,
        message: bytes,
        shape: TrafficShape,
        disclosed: Usage,
        carried: dict[str, Any],
        timeout_s: float | None,
    ) -> SealedFrame:
        cost = disclosed + Usage(frames=1, bytes=channel.sealed_size(len(message), shape))
        carried |= {"caption": caption.ordinal, "caption_id": caption.id}
        if self._level == "content":
            carried["message"] = message
        return self._passed(
            channel, caption, lambda: channel.seal(message, shape), cost, carried, timeout_s
        )

    def _passed(
        self,
        channel: ClientChannel,
        caption: CaptionHandle | None,
        seal: Callable[[], bytes],
        cost: Usage,
        carried: dict[str, Any],
        timeout_s: float | None,
    ) -> SealedFrame:
        """Check the caps, seal, and commit charge and leaf, in one transaction."""
        now_s, salt = self._clock(), self._entropy(SALT_BYTES)
        with _nothing_escapes(channel), self._passage(caption, now_s, timeout_s) as passage:
            limits = self._limits.with_stricter_caps(passage.caps(self._user))
            check_caps(limits, cost, passage.before)
            data = seal()
            carried |= {
                "frame_bytes": len(data),
                "frame_sha256": hashlib.sha256(data).digest(),
                "verifier": channel.pinned.fingerprint,
            }
            epoch = self._record(passage, carried, cost, now_s, salt)
        self._epoch = epoch  # only now: one that was undone has no row
        return SealedFrame(data, passage.index, _EGRESS_TOKEN)

    def _record(
        self,
        passage: EgressTransaction,
        carried: Mapping[str, Any],
        cost: Usage,
        now_s: float,
        salt: bytes,
    ) -> Epoch:
        """Write the record; return the epoch that sealed it, ours once the passage stands."""
        record = record_of(
            passage,
            carried,
            user=self._user,
            clip_norm=self._clip_norm,
            delta=self._limits.delta,
            now_s=now_s,
        )
        charge = record.charge
        if charge != cost:  # our own bug; it must not leave at a wrong price
            raise RuntimeError("what was sealed is not what was priced")
        body = record.to_bytes()
        content, epoch = Leaf.from_body(body, charge, salt).to_bytes(), self._epoch
        if epoch is None:
            secret = self._entropy(_EPOCH_SECRET_BYTES)
            epoch = Epoch.create(passage.index, secret, self._owner)
        sealed = epoch.seal(passage.index, content, salt, body)
        passage.record(charge, content=content, sealed=sealed)
        if epoch.number == passage.index:
            passage.begin_epoch(self._owner.digest, epoch.sealed)
        return epoch

    @contextmanager
    def _passage(
        self, caption: CaptionHandle | None, now_s: float, timeout_s: float | None = None
    ) -> Iterator[EgressTransaction]:
        name = None if caption is None else caption.id
        with self._ledger.begin_egress(
            user=self._user,
            caption=name,
            now_s=now_s,
            uptime=self._uptime(),
            timeout_s=timeout_s,
        ) as passage:
            yield passage


@contextmanager
def _nothing_escapes(channel: ClientChannel) -> Iterator[None]:
    """Close the channel if anything fails after it sealed: a frame exists that must not leave."""
    sealed = channel.sealed_count
    try:
        yield
    except BaseException:
        if channel.sealed_count != sealed:
            channel.close()
        raise


def _check(channel: ClientChannel, caption: CaptionHandle) -> None:
    if caption.channel is not channel:
        raise WireError("the caption belongs to another session: begin_caption(continues=...)")


def _check_states(escalation: Escalation) -> None:
    states = escalation.states
    if states.ndim != 2 or states.dtype != np.float32 or states.shape[1] > MAX_STATE_DIM:
        raise WireError(f"states must be float32 (n, B) with B at most {MAX_STATE_DIM}")
    if len(states) != len(escalation.state_positions) or len(states) > MAX_CAPTION_TOKENS:
        raise WireError("states and state_positions differ in number")
    if not np.isfinite(states).all():
        raise WireError("a state holds a number that is not finite")


def _block(caption: CaptionHandle, escalation: Escalation, quantised: bytes) -> Block:
    try:
        block = Block(
            caption=caption.ordinal,
            keep=exact_int(escalation.keep),
            prefix=tuple(map(exact_int, escalation.prefix)),
            tokens=tuple(map(exact_int, escalation.tokens)),
            state_positions=tuple(map(exact_int, escalation.state_positions)),
            state_dim=escalation.states.shape[1] if quantised else 0,
            states=quantised,
        )
    except (TypeError, ValidationError):
        raise WireError("not a block that the wire can carry; see wire.Block") from None
    named = {
        Disclosure.TOKENS: range(0),
        Disclosure.SUMMARY: range(1),
        Disclosure.BLOCK_STATES: range(block.start, block.end),
        Disclosure.ALL_STATES: range(block.keep, block.end),
    }[escalation.disclosure]
    if any(position not in named for position in block.state_positions):
        raise WireError(f"a state beyond what the disclosure {escalation.disclosure} names")
    return block
