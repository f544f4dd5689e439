"""What the log keeps of one passage through the door, and the leaf that commits to it.

The *body* is the record as deterministic CBOR, at level ``content`` with the very message that
left; it stays on the device, sealed to its owner (:mod:`ugsd_privacy.audit.bodies`). The *leaf* is
what the Merkle tree holds: CBOR of ``[version, commitment, frame bytes, [blocks, tokens]]``. The
commitment is SHA-256 over a domain tag, a random salt of 32 bytes and the body, so a leaf reveals
sizes and counts, binds the body, and tells nothing of it to whoever lacks the salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ugsd_privacy.budget import Usage, Window
from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.errors import LogTampered, WireError
from ugsd_privacy.protocol.messages import (
    MAX_MESSAGE_BYTES,
    Block,
    Disclosure,
    decode_device_message,
)
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.user_names import MAX_USER_CHARACTERS

__all__ = [
    "BLOCK_FIELDS",
    "MAX_RANGES",
    "MAX_USER_CHARACTERS",
    "RECORD_VERSION",
    "SALT_BYTES",
    "UNSEALED_KINDS",
    "Counts",
    "EgressRecord",
    "Leaf",
    "LogLevel",
    "Resettable",
    "commitment",
    "decode_record",
]

RECORD_VERSION = 3
SALT_BYTES = 32
_DIGEST_BYTES = 32
MAX_RANGES = 50_000
"""Of leaves that one record erased."""
_MAX_ITEMS = 2**18
"""Of a record: an erasure of so many ranges has the most."""
_MAX_LEAF_BYTES = 128
_MAX_DEPTH, _LEAF_DEPTH = 3, 2
"""A record is a map that holds a map of arrays, a leaf an array that holds one."""
_COMMITMENT_TAG = b"ugsd egress record 3\x00"

_MAX_COUNT = 2**63 - 1
"""What a ledger can hold."""
Count = Annotated[int, Field(strict=True, ge=0, le=_MAX_COUNT)]
Counts = tuple[Count, Count, Count, Count, Count]
"""Of a :class:`Usage`: blocks, tokens, frames, bytes, spend."""
Resettable = Literal["hour", "day", "lifetime"]
LogLevel = Literal["content", "record"]
"""Whether records keep what left itself, or only what of it is counted."""
UNSEALED_KINDS = frozenset({"reset", "erase"})
"""Acts of the owner: nothing left, and verification without the owner's key needs them."""
Range = tuple[Count, Count]
BLOCK_FIELDS = ("caption", "keep", "prefix", "tokens", "state_positions", "state_dim")
"""What a record has of a block, whatever its level; states are in the message alone."""
Digest = Annotated[bytes, Field(strict=True, min_length=32, max_length=32)]


class EgressRecord(StrictModel):
    """One passage: what left, under which charge, sealed to whom. Never leaves the device itself.

    A ``hello`` has no caption; neither it nor a ``cover`` has a disclosure, tokens or states. Of a
    ``reset`` nothing left: the owner had windows of a user's budget begin anew; nor of an
    ``erase``: the owner erased the bodies of earlier leaves.
    """

    version: Annotated[int, Field(ge=RECORD_VERSION, le=RECORD_VERSION)] = RECORD_VERSION
    kind: Literal["hello", "block", "cover", "reset", "erase"]
    caption: Count | None = None
    """Ordinal of the caption within its session, as blocks have it; a cover's never leaves."""
    caption_id: Annotated[bytes, Field(min_length=16, max_length=16)] | None = None
    """Random; names the caption on this device only."""
    disclosure: Annotated[Disclosure, Field(strict=False)] | None = None
    keep: Count = 0
    prefix: tuple[Count, ...] = ()
    tokens: tuple[Count, ...] = ()
    state_positions: tuple[Count, ...] = ()
    state_dim: Count = 0
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Standard deviation of the noise on each coordinate, in units of ``clip_norm``; ``None``
    without noise, or without states."""
    spend: Count = 0
    """Of the states, see :func:`ugsd_privacy.dp.accounting.spend`."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """At which epsilon is told, and was held against its caps."""
    message: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)] | None = None
    """The canonical wire bytes that left in the frame; ``None`` of a hello, and at level
    ``record``."""
    frame_bytes: Count = 0
    frame_sha256: Digest | None = None
    before: Mapping[Window, Counts]
    """What the user had used in each window before this passage."""
    resets: tuple[Resettable, ...] = ()
    """Windows that begin anew with this record."""
    erased: tuple[Range, ...] = ()
    """Leaves whose bodies this record erased: from the first number to before the second."""
    hour: Count
    """UTC hour number that was charged."""
    user: Annotated[str, Field(max_length=MAX_USER_CHARACTERS)]
    """Whose budget; stays on the device."""
    time_s: Count
    """Unix time by the device's clock."""
    verifier: Annotated[str, Field(max_length=64)] = ""
    """Fingerprint of the pinned key that the frame was sealed for."""

    @property
    def charge(self) -> Usage:
        """What this passage costs."""
        return Usage(
            blocks=int(self.kind == "block"),
            tokens=len(self.prefix) + len(self.tokens),
            frames=int(self.kind not in UNSEALED_KINDS),
            bytes=self.frame_bytes,
            privacy_cost=self.spend,
        )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        about_captions = (self.caption, self.caption_id, self.before.get("caption"))
        present = {field is not None for field in about_captions}
        if present != {self.kind in {"block", "cover"}}:
            raise ValueError("a block or a cover names its caption, nothing else does")
        if set(self.before) != (
            {"hour", "day", "lifetime"} | ({"caption"} if self.caption_id else set())
        ):
            raise ValueError("a record tells of every window")
        if (self.disclosure is not None) != (self.kind == "block"):
            raise ValueError("a block has a disclosure, nothing else")
        if self.kind != "block" and (self.prefix or self.tokens or self.state_positions):
            raise ValueError("only a block carries anything")
        if bool(self.spend) != bool(self.state_positions) or (self.sigma and not self.spend):
            raise ValueError("states, and nothing else, are noised and spend")
        left = self.kind not in UNSEALED_KINDS
        if {bool(self.frame_bytes), self.frame_sha256 is not None} != {left}:
            raise ValueError("a reset or an erasure has no frame, all else has one")
        if (bool(self.resets), bool(self.erased)) != (self.kind == "reset", self.kind == "erase"):
            raise ValueError("only a reset resets, and only an erasure erases")
        if self.message is not None and self.kind not in {"block", "cover"}:
            raise ValueError("only a block or a cover has a message")
        return self

    def to_bytes(self) -> bytes:
        """The body: deterministic CBOR (RFC 8949 §4.2.1)."""
        fields = self.model_dump(mode="python")
        if self.disclosure is not None:
            fields["disclosure"] = str(self.disclosure)
        return encode_item(fields)


@dataclass(frozen=True, slots=True)
class Leaf:
    """The public face of a record: its commitment and what it cost."""

    commitment: bytes
    frame_bytes: int
    blocks: int
    tokens: int

    @classmethod
    def from_body(cls, body: bytes, charge: Usage, salt: bytes) -> Self:
        """The leaf of a record's ``body`` and charge under ``salt``, ``SALT_BYTES`` at random."""
        return cls(commitment(body, salt), charge.bytes, charge.blocks, charge.tokens)

    def to_bytes(self) -> bytes:
        """CBOR of version, commitment, frame bytes and counters."""
        counters = [self.blocks, self.tokens]
        fields = [RECORD_VERSION, self.commitment, self.frame_bytes, counters]
        return encode_item(fields)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse what :meth:`to_bytes` wrote, and no other bytes. Raises :class:`LogTampered`."""
        if len(content) > _MAX_LEAF_BYTES:
            raise LogTampered("not a leaf")
        try:
            fields = decode_item(content, max_depth=_LEAF_DEPTH)
            version, sealed, frame_bytes, (blocks, tokens) = fields
            leaf = cls(sealed, frame_bytes, blocks, tokens)
            sound = version == RECORD_VERSION and leaf.to_bytes() == content
        except Exception:
            raise LogTampered("not a leaf") from None
        counts = (frame_bytes, blocks, tokens)
        if not (sound and type(sealed) is bytes and len(sealed) == _DIGEST_BYTES) or any(
            type(count) is not int or not 0 <= count <= _MAX_COUNT for count in counts
        ):
            raise LogTampered("not a leaf")
        return leaf


def commitment(body: bytes, salt: bytes) -> bytes:
    """SHA-256 of tag, salt and body. Hiding while the salt is secret, binding always."""
    if len(salt) != SALT_BYTES:
        raise LogTampered(f"a salt has {SALT_BYTES} bytes")
    return hashlib.sha256(_COMMITMENT_TAG + salt + body).digest()


def decode_record(body: bytes) -> EgressRecord:
    """Parse a body. Raises :class:`LogTampered` unless it is a record's canonical bytes."""
    try:
        fields = decode_item(body, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
        record = EgressRecord.model_validate(fields)
    except ValidationError as error:
        raise LogTampered(f"not an egress record: {error.error_count()} fault(s)") from None
    except WireError as error:
        raise LogTampered(f"not an egress record: {error}") from None
    if record.to_bytes() != body:
        raise LogTampered("not an egress record's canonical bytes")
    _check_message(record)
    return record


def _check_message(record: EgressRecord) -> None:
    """What is counted of a message is to be what it says."""
    if record.message is None:
        return
    try:
        message = decode_device_message(record.message)
    except WireError:
        raise LogTampered("its message is not one that may be sent") from None
    same = message.kind == record.kind and (
        not isinstance(message, Block)
        or all(getattr(message, name) == getattr(record, name) for name in BLOCK_FIELDS)
    )
    if not same:
        raise LogTampered("its message is not the one that it tells of")
