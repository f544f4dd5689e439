"""What the log keeps of one passage through the door, and the leaf that commits to it.

The *body* is the record as deterministic CBOR; it stays on the device. The *leaf* is what the
Merkle tree holds: CBOR of ``[version, commitment, frame bytes, [blocks, tokens]]``. The commitment
is SHA-256 over a domain tag, a random salt of 32 bytes and the body, so a leaf reveals sizes and
counts, binds the body, and tells nothing of it to whoever lacks the salt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import cbor2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ugsd_privacy.budget import Usage
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.wire import Disclosure

__all__ = [
    "MAX_USER_CHARACTERS",
    "RECORD_VERSION",
    "SALT_BYTES",
    "EgressRecord",
    "Leaf",
    "commitment",
    "decode_record",
]

MAX_USER_CHARACTERS = 64
RECORD_VERSION = 1
SALT_BYTES = 32
_COMMITMENT_TAG = b"ugsd egress record 1\x00"

Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Counts = tuple[Count, Count, Count]
"""Blocks, tokens, bytes."""
Digest = Annotated[bytes, Field(strict=True, min_length=32, max_length=32)]


class EgressRecord(BaseModel):
    """One passage: what left, under which charge, sealed to whom. Never leaves the device itself.

    A ``hello`` has no caption; neither it nor a ``cover`` has a disclosure, tokens or states.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    kind: Literal["hello", "block", "cover"]
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
    frame_bytes: Count
    frame_sha256: Digest
    caption_before: Counts | None = None
    caption_after: Counts | None = None
    day_before: Counts
    day_after: Counts
    day: Count
    """UTC day number that was charged."""
    user: Annotated[str, Field(max_length=MAX_USER_CHARACTERS)]
    """Whose budget; stays on the device."""
    time_s: Count
    """Unix time by the device's clock."""
    verifier: Annotated[str, Field(max_length=64)]
    """Fingerprint of the pinned key that the frame was sealed for."""

    @property
    def charge(self) -> Usage:
        """What this passage costs."""
        blocks = int(self.kind == "block")
        return Usage(blocks, len(self.prefix) + len(self.tokens), self.frame_bytes)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        about_captions = (self.caption, self.caption_id, self.caption_before, self.caption_after)
        present = {field is not None for field in about_captions}
        if present != {self.kind != "hello"}:
            raise ValueError("a block or a cover names its caption, a hello none")
        if (self.disclosure is not None) != (self.kind == "block"):
            raise ValueError("a block has a disclosure, nothing else")
        if self.kind != "block" and (self.prefix or self.tokens or self.state_positions):
            raise ValueError("a hello or a cover carries nothing")
        return self

    def to_bytes(self) -> bytes:
        """The body: deterministic CBOR (RFC 8949 §4.2.1)."""
        fields = self.model_dump(mode="python")
        if self.disclosure is not None:
            fields["disclosure"] = str(self.disclosure)
        return cbor2.dumps(fields, canonical=True)


@dataclass(frozen=True, slots=True)
class Leaf:
    """The public face of a record: its commitment and what it cost."""

    commitment: bytes
    frame_bytes: int
    blocks: int
    tokens: int

    @classmethod
    def of(cls, record: EgressRecord, salt: bytes) -> Self:
        """The leaf of ``record`` under ``salt``, ``SALT_BYTES`` of randomness."""
        charge = record.charge
        sealed = commitment(record.to_bytes(), salt)
        return cls(sealed, charge.bytes, charge.blocks, charge.tokens)

    def to_bytes(self) -> bytes:
        """CBOR of version, commitment, frame bytes and counters."""
        counters = [self.blocks, self.tokens]
        fields = [RECORD_VERSION, self.commitment, self.frame_bytes, counters]
        return cbor2.dumps(fields, canonical=True)


def commitment(body: bytes, salt: bytes) -> bytes:
    """SHA-256 of tag, salt and body. Hiding while the salt is secret, binding always."""
    if len(salt) != SALT_BYTES:
        raise LogTampered(f"a salt has {SALT_BYTES} bytes")
    return hashlib.sha256(_COMMITMENT_TAG + salt + body).digest()


def decode_record(body: bytes) -> EgressRecord:
    """Parse a body. Raises :class:`LogTampered` unless it is a record's canonical bytes."""
    try:
        fields = cbor2.loads(body)
        record = EgressRecord.model_validate(
            {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        )
    except ValidationError as error:
        raise LogTampered(f"not an egress record: {error.error_count()} fault(s)") from None
    except Exception:
        raise LogTampered("not an egress record") from None
    if record.to_bytes() != body:
        raise LogTampered("not an egress record's canonical bytes")
    return record
