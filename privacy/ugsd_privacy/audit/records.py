"""Egress records, and the leaves that commit to them.

The *body* is the record as deterministic CBOR, at level ``content`` with the message that was sent.
It stays on the device, sealed to its owner (:mod:`ugsd_privacy.audit.bodies`). The *leaf* is what
the Merkle tree contains: CBOR of ``[version, commitment, frame bytes, [blocks, tokens]]``. The
commitment is SHA-256 over a domain tag, a random salt of 32 bytes and the body. So a leaf reveals
sizes and counts and binds the body, but reveals nothing about it to anyone without the salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ugsd_privacy.budget import Usage, Window
from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.dp.accounting import block_privacy_cost
from ugsd_privacy.dp.mechanism import MAX_SIGMA, exponent_of
from ugsd_privacy.errors import LogOfAnotherVersion, LogTampered, WireError
from ugsd_privacy.protocol.messages import (
    MAX_MESSAGE_BYTES,
    MAX_VALUES,
    AskedSlot,
    Block,
    ContinueTo,
    Disclosure,
    decode_device_message,
)
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.user_names import MAX_USER_CHARACTERS

__all__ = [
    "BLOCK_FIELDS",
    "MAX_RANGES",
    "MAX_USER_CHARACTERS",
    "RECORDING_VERSION",
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

RECORD_VERSION = 4
"""Version of leaves, and of records of captions that belong to no recording. Version 3 was about
blocks of wire version 1."""
RECORDING_VERSION = 5
"""Version of records of captions that belong to a recording, which have two values more."""
SALT_BYTES = 32
_DIGEST_BYTES = 32
MAX_RANGES = 50_000
"""Most ranges of leaves that one record can erase."""
_MAX_ITEMS = 2**18
"""Most CBOR items of a record: those of an erasure with ``MAX_RANGES``."""
_MAX_LEAF_BYTES = 128
_MAX_DEPTH, _LEAF_DEPTH = 3, 2
"""A record is a map with a map of arrays, a leaf an array with an array."""
_COMMITMENT_TAG = b"ugsd egress record 4\x00"

_MAX_COUNT = 2**63 - 1
"""The largest integer of SQLite."""
Count = Annotated[int, Field(strict=True, ge=0, le=_MAX_COUNT)]
Counts = tuple[Count, Count, Count, Count, Count]
"""The counts of a :class:`Usage`: blocks, tokens, frames, bytes, spend (privacy cost)."""
Resettable = Literal["hour", "day", "lifetime"]
LogLevel = Literal["content", "record"]
"""Whether records include the message that was sent, or only its counts."""
UNSEALED_KINDS = frozenset({"reset", "erase"})
"""Acts of the owner: nothing was sent, and verification without the owner's key needs them."""
Range = tuple[Count, Count]
BLOCK_FIELDS = (
    "caption",
    "slot",
    "tokens",
    "state_positions",
    "state_dim",
    "projection",
    "keep",
    "prefix",
    "continue_to",
    "exponent",
)
"""Fields of a block in records of every level; states and draft weights are only in the message."""
Digest = Annotated[bytes, Field(strict=True, min_length=32, max_length=32)]


class EgressRecord(StrictModel):
    """What was sent in one frame, its charge, and for whom it was sealed. It is never sent itself.

    A ``hello`` has no caption; neither it nor a ``cover`` has a disclosure, tokens or states. With
    a ``reset`` or an ``erase`` nothing is sent: the owner reset windows of a user's budget, or
    erased the bodies of earlier leaves.
    """

    version: Annotated[int, Field(ge=RECORD_VERSION, le=RECORDING_VERSION)] = RECORD_VERSION
    kind: Literal["hello", "block", "cover", "reset", "erase"]
    caption: Count | None = None
    """Ordinal of the caption within its session, as in blocks; that of a cover is never sent."""
    caption_id: Annotated[bytes, Field(min_length=16, max_length=16)] | None = None
    """Random id of the caption, on this device only."""
    recording_id: Annotated[bytes, Field(min_length=16, max_length=16)] | None = None
    """Id of the recording that the caption belongs to, on this device only. Only records of version
    ``RECORDING_VERSION`` have it, and all of them do."""
    disclosure: Annotated[Disclosure, Field(strict=False)] | None = None
    slot: Annotated[AskedSlot, Field(strict=False)] | None = None
    """What the block asked about."""
    tokens: tuple[Count, ...] = ()
    state_positions: tuple[Count, ...] = ()
    state_dim: Count = 0
    projection: Count = 0
    projection_id: Annotated[bytes, Field(max_length=_DIGEST_BYTES)] = b""
    """SHA-256 of the states' projection, which the message names by an index alone; empty if the
    sender did not give it."""
    keep: Count = 0
    prefix: tuple[Count, ...] = ()
    continue_to: Annotated[ContinueTo, Field(strict=False)] | None = None
    """How far the verifier might go on after the block."""
    exponent: Count = 0
    """That of the states' noise (see :func:`ugsd_privacy.dp.mechanism.exponent_of`)."""
    num_draft_weights: Annotated[int, Field(ge=0, le=MAX_VALUES)] = 0
    """How many draft weights of values were sent."""
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma: Annotated[float, Field(gt=0, le=MAX_SIGMA, allow_inf_nan=False)] | None = None
    """Standard deviation of the noise on each coordinate, in units of ``clip_norm``; ``None``
    without noise or without states."""
    spend: Count = 0
    """Privacy cost of the states and draft weights (see
    :func:`ugsd_privacy.dp.accounting.block_privacy_cost`)."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The delta at which epsilon is computed and was checked against its caps."""
    message: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)] | None = None
    """The canonical message in the frame; ``None`` for a hello and at level ``record``."""
    frame_bytes: Count = 0
    frame_sha256: Digest | None = None
    before: Mapping[Window, Counts]
    """What the user had used in each window before this record."""
    resets: tuple[Resettable, ...] = ()
    """Windows that this record resets."""
    erased: tuple[Range, ...] = ()
    """Half-open ranges of the leaves whose bodies this record erased."""
    hour: Count
    """The UTC hour number that was charged."""
    user: Annotated[str, Field(max_length=MAX_USER_CHARACTERS)]
    """The user whose budget was charged; never sent."""
    time_s: Count
    """Unix time by the device's clock."""
    verifier: Annotated[str, Field(max_length=64)] = ""
    """Fingerprint of the pinned key to which the frame was sealed."""

    @property
    def charge(self) -> Usage:
        """The usage that this record charges."""
        return Usage(
            blocks=int(self.kind == "block"),
            tokens=len(self.prefix) + len(self.tokens),
            frames=int(self.kind not in UNSEALED_KINDS),
            bytes=self.frame_bytes,
            privacy_cost=self.spend,
        )

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if (self.version == RECORDING_VERSION) != (self.recording_id is not None):
            raise ValueError("a record's version does not match whether it has a recording")
        if self.recording_id is not None and self.caption_id is None:
            raise ValueError("only a caption belongs to a recording")
        own = {"caption": self.caption_id, "recording": self.recording_id}
        charged = {window for window, name in own.items() if name is not None}
        if set(self.before) != {"hour", "day", "lifetime"} | charged:
            raise ValueError("a record must have the usage of every window")
        return self

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        about_captions = (self.caption, self.caption_id, self.before.get("caption"))
        present = {field is not None for field in about_captions}
        if present != {self.kind in {"block", "cover"}}:
            raise ValueError("only a block or a cover has a caption")
        if (self.disclosure is not None) != (self.kind == "block"):
            raise ValueError("only a block has a disclosure")
        if {self.slot is not None, self.continue_to is not None} != {self.kind == "block"}:
            raise ValueError("only a block asks a question")
        if self.kind != "block" and (self.prefix or self.tokens or self.state_positions):
            raise ValueError("only a block has tokens or states")
        if bool(self.num_draft_weights) != (self.disclosure is Disclosure.DISTRIBUTIONS):
            raise ValueError(
                "draft weights were sent exactly at the disclosure level distributions"
            )
        about_states = (self.sigma, self.exponent, self.projection, self.projection_id)
        if not self.state_positions and any(about_states):
            raise ValueError("only states have noise, an exponent and a projection")
        if self.exponent != exponent_of(self.sigma):
            raise ValueError("the exponent is not that of the noise")
        if self.spend != block_privacy_cost(
            self.sigma,
            num_states=len(self.state_positions),
            has_draft_weights=bool(self.num_draft_weights),
        ):
            raise ValueError("the privacy cost is not that of the states and draft weights")
        is_sent = self.kind not in UNSEALED_KINDS
        if {bool(self.frame_bytes), self.frame_sha256 is not None} != {is_sent}:
            raise ValueError("every record but a reset or an erasure has a frame")
        if (bool(self.resets), bool(self.erased)) != (self.kind == "reset", self.kind == "erase"):
            raise ValueError(
                "only a reset has windows to reset, only an erasure has leaves to erase"
            )
        if self.message is not None and self.kind not in {"block", "cover"}:
            raise ValueError("only a block or a cover has a message")
        return self

    def to_bytes(self) -> bytes:
        """Return the body: deterministic CBOR (RFC 8949 §4.2.1)."""
        fields = self.model_dump(mode="python")
        if self.recording_id is None:
            del fields["recording_id"]
        if self.disclosure is not None:
            fields["disclosure"] = str(self.disclosure)
        if self.slot is not None and self.continue_to is not None:
            fields |= {"slot": int(self.slot), "continue_to": int(self.continue_to)}
        return encode_item(fields)


@dataclass(frozen=True, slots=True)
class Leaf:
    """The public part of a record: its commitment and counters."""

    commitment: bytes
    frame_bytes: int
    blocks: int
    tokens: int

    @classmethod
    def from_body(cls, body: bytes, charge: Usage, salt: bytes) -> Self:
        """Build the leaf of a record from its body, its charge and a random ``salt``."""
        return cls(commitment(body, salt), charge.bytes, charge.blocks, charge.tokens)

    def to_bytes(self) -> bytes:
        """Return the CBOR of version, commitment, frame bytes and counters."""
        counters = [self.blocks, self.tokens]
        fields = [RECORD_VERSION, self.commitment, self.frame_bytes, counters]
        return encode_item(fields)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse canonical bytes of a leaf. Raises :class:`LogTampered` for any others."""
        if len(content) > _MAX_LEAF_BYTES:
            raise LogTampered("not a leaf")
        try:
            fields = decode_item(content, max_depth=_LEAF_DEPTH)
        except WireError:
            raise LogTampered("not a leaf") from None
        if isinstance(fields, tuple) and fields:
            _check_version("leaf", fields[0], RECORD_VERSION)
        try:
            version, digest, frame_bytes, (blocks, tokens) = fields
            leaf = cls(digest, frame_bytes, blocks, tokens)
            is_valid = version == RECORD_VERSION and leaf.to_bytes() == content
        except Exception:
            raise LogTampered("not a leaf") from None
        counts = (frame_bytes, blocks, tokens)
        if not (is_valid and type(digest) is bytes and len(digest) == _DIGEST_BYTES) or any(
            type(count) is not int or not 0 <= count <= _MAX_COUNT for count in counts
        ):
            raise LogTampered("not a leaf")
        return leaf


def commitment(body: bytes, salt: bytes) -> bytes:
    """Return SHA-256 of tag, salt and body: always binding, and hiding while the salt is secret."""
    if len(salt) != SALT_BYTES:
        raise LogTampered(f"a salt must have {SALT_BYTES} bytes")
    return hashlib.sha256(_COMMITMENT_TAG + salt + body).digest()


def decode_record(body: bytes) -> EgressRecord:
    """Parse a body. Raises :class:`LogTampered` unless it is a record's canonical bytes."""
    try:
        fields = decode_item(body, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
        if isinstance(fields, dict):
            _check_version("record", fields.get("version"), RECORD_VERSION, RECORDING_VERSION)
        record = EgressRecord.model_validate(fields)
    except ValidationError as error:
        raise LogTampered(f"not an egress record: {_fault(error)}") from None
    except WireError as error:
        raise LogTampered(f"not an egress record: {error}") from None
    if record.to_bytes() != body:
        raise LogTampered("the egress record is not canonical CBOR")
    _check_message(record)
    return record


def _fault(error: ValidationError) -> str:
    """Return the rule that a record breaks, or the number of malformed fields, without values."""
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{error.error_count()} error(s)"


def _check_version(noun: str, version: object, *readable: int) -> None:
    """Raise :class:`LogOfAnotherVersion` for an integer that is not a version which this release
    reads."""
    if type(version) is int and version not in readable:
        known = " and ".join(map(str, readable))
        raise LogOfAnotherVersion(
            f"the {noun} has version {version}, and this release reads {known}: use the release "
            "that wrote it"
        )


def _check_message(record: EgressRecord) -> None:
    """Check that a record's fields match its message."""
    if record.message is None:
        return
    try:
        message = decode_device_message(record.message)
    except WireError:
        raise LogTampered("its message is not valid on the wire") from None
    same = message.kind == record.kind and (
        not isinstance(message, Block)
        or (
            all(getattr(message, name) == getattr(record, name) for name in BLOCK_FIELDS)
            and len(message.draft_weights) == record.num_draft_weights
        )
    )
    if not same:
        raise LogTampered("its message does not match its fields")
