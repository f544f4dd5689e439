"""The only message types that a device sends, and their canonical bytes.

What this schema does not name cannot be sent (law 2). It has no free text, user id, file name, time
stamp, audio, spectrogram or encoder frame. Every message is a closed pydantic model, encoded as
deterministic CBOR (RFC 8949 §4.2) and refused unless its bytes are canonical. This is wire version
1, as specified in docs/wire.md and tested by the vectors in tests/conformance/vectors.

Terms: a caption is the token sequence ``t[0], t[1], ...`` after an implicit start token. The
*state* of position ``i`` is the unit-ball vector from which the drafter drafted ``t[i]``, so the
state of position 0 is computed before any token and summarises the clip.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.errors import UnknownVersion, WireError
from ugsd_privacy.strict_models import StrictModel

__all__ = [
    "MAX_CAPTION_TOKENS",
    "MAX_MESSAGE_BYTES",
    "MAX_STATE_DIM",
    "WIRE_VERSION",
    "Block",
    "Cover",
    "DeviceMessage",
    "Disclosure",
    "Refusal",
    "RefusalCode",
    "ServerMessage",
    "Verdict",
    "Welcome",
    "decode_device_message",
    "decode_server_message",
    "encode",
]

WIRE_VERSION = 1
"""Version of the messages. What a version 1 peer would refuse or misread needs a new version."""

MAX_CAPTION_TOKENS = 256
"""Longest caption of any peer, in tokens."""
MAX_STATE_DIM = 128
"""Most coordinates of a state."""
MAX_MESSAGE_BYTES = 16_384
"""Longest message that is encoded or decoded."""
_MAX_TOKEN_ID = 2**20 - 1
_MAX_VERSION = 255

_MAX_DEPTH = 2
"""A message is a map that holds arrays."""


TokenId = Annotated[int, Field(strict=True, ge=0, le=_MAX_TOKEN_ID)]
Position = Annotated[int, Field(strict=True, ge=0, le=MAX_CAPTION_TOKENS)]
Tokens = Annotated[tuple[TokenId, ...], Field(max_length=MAX_CAPTION_TOKENS)]
Ordinal = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]


class Disclosure(StrEnum):
    """How much is sent with a block, from least to most."""

    TOKENS = "tokens"
    """Token ids of the block, and of the prefix that the verifier does not have yet."""
    SUMMARY = "summary"
    """``tokens`` and, once per caption, the state of position 0."""
    BLOCK_STATES = "block_states"
    """``tokens`` and the state of every token of the block."""
    ALL_STATES = "all_states"
    """``block_states`` and the states of the prefix tokens sent with it."""


class Block(StrictModel):
    """Device to verifier: a drafted block to verify. Nothing else about a clip is ever sent."""

    kind: Literal["block"] = "block"
    """Why: distinguishes it from a cover."""
    caption: Ordinal
    """Ordinal of the caption within this session. Why: one session serves several captions."""
    keep: Position
    """How many leading tokens of this caption the verifier has and keeps. Why: only new tokens are
    sent."""
    prefix: Tokens
    """Committed tokens from ``keep`` on that the verifier does not have yet. Why: context."""
    tokens: Annotated[Tokens, Field(min_length=1)]
    """The drafted block. Why: the verifier verifies it."""
    state_positions: Annotated[tuple[Position, ...], Field(max_length=MAX_CAPTION_TOKENS)]
    """Ascending positions before the block's end whose states are enclosed. Why: a disclosure level
    encloses all, some or no states."""
    state_dim: Annotated[int, Field(strict=True, ge=0, le=MAX_STATE_DIM)]
    """Coordinates of each state; 0 without states. Why: splits ``states`` into rows."""
    states: Annotated[bytes, Field(max_length=MAX_CAPTION_TOKENS * MAX_STATE_DIM)]
    """Quantised states, ``(len(state_positions), state_dim)`` int8 row by row; a coordinate is
    value/127. Why: the only information about the voice that the verifier gets."""

    @property
    def start(self) -> int:
        """Position of the block's first token."""
        return self.keep + len(self.prefix)

    @property
    def end(self) -> int:
        """Position after the block's last token."""
        return self.start + len(self.tokens)

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.end > MAX_CAPTION_TOKENS:
            raise ValueError(f"caption longer than {MAX_CAPTION_TOKENS} tokens")
        if len(self.states) != len(self.state_positions) * self.state_dim:
            raise ValueError("states do not match state_positions x state_dim")
        pairs = zip(self.state_positions, self.state_positions[1:], strict=False)
        if any(a >= b for a, b in pairs):
            raise ValueError("state_positions must ascend")
        if self.state_positions and self.state_positions[-1] >= self.end:
            raise ValueError("a state position lies beyond the block")
        return self


class Cover(StrictModel):
    """Both directions: an empty message for a caption without an escalated block, and its answer.

    Why: in constant shape such a caption looks like any other.
    """

    kind: Literal["cover"] = "cover"
    """Why: distinguishes it from a block and a verdict."""


class Welcome(StrictModel):
    """Verifier to device, inside the handshake's answer: what this verifier can check."""

    kind: Literal["welcome"] = "welcome"
    """Why: with ``version``, the only field that the welcomes of all versions share."""
    version: Annotated[int, Field(strict=True, ge=0, le=_MAX_VERSION)]
    """Wire version of the verifier. Why: a device refuses every version but its own."""
    vocabulary: Annotated[bytes, Field(min_length=32, max_length=32)]
    """SHA-256 of the vocabulary file. Why: a device refuses a verifier for which its token ids mean
    other words."""
    projection: Annotated[bytes, Field(min_length=32, max_length=32)]
    """SHA-256 that identifies the state projection the verifier was trained on. Why: a device
    refuses a verifier that cannot interpret its states."""
    state_dim: Annotated[int, Field(strict=True, ge=0, le=MAX_STATE_DIM)]
    """Coordinates of the states that the verifier reads. Why: must match ``projection``."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=MAX_CAPTION_TOKENS)]
    """Longest caption that the verifier reads. Why: no block is sent that it must refuse."""


class Verdict(StrictModel):
    """Verifier to device: the result of verifying a block."""

    kind: Literal["verdict"] = "verdict"
    """Why: distinguishes it from a refusal and a cover."""
    caption: Ordinal
    """The block's caption, echoed. Why: the device refuses a verdict on any other caption."""
    start: Position
    """Position of the block's first token, echoed. Why: as for ``caption``."""
    accepted: Position
    """How many leading tokens of the block are accepted. Why: the device commits these."""
    correction: TokenId | None
    """Replacement for the first rejected token; ``None`` if all were accepted. Why: it is the
    verifier's own choice for that position."""
    continuation: Tokens
    """Tokens after the correction or after the accepted block. Why: saves round trips."""

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        length = self.start + self.accepted + (self.correction is not None) + len(self.continuation)
        if length > MAX_CAPTION_TOKENS:
            raise ValueError(f"verdict makes the caption longer than {MAX_CAPTION_TOKENS} tokens")
        return self


class RefusalCode(StrEnum):
    """Why a verifier refused a block."""

    BAD_MESSAGE = "bad_message"
    """Not a device's message, or one that the model cannot read."""
    UNKNOWN_PREFIX = "unknown_prefix"
    """The block keeps tokens that the verifier does not have."""
    TOO_LARGE = "too_large"
    """The caption is longer than the verifier reads, or the answer does not fit its frame."""
    OVERLOADED = "overloaded"
    """Too many blocks are waiting."""
    INTERNAL = "internal"
    """The model failed."""


class Refusal(StrictModel):
    """Verifier to device: there is no verdict, and why. It has no details of the failure."""

    kind: Literal["refusal"] = "refusal"
    """Why: distinguishes it from a verdict."""
    code: Annotated[RefusalCode, Field(strict=False)]
    """Why: the device's next step depends on it."""


DeviceMessage = Annotated[Block | Cover, Field(discriminator="kind")]
ServerMessage = Annotated[Verdict | Refusal | Cover | Welcome, Field(discriminator="kind")]

_T = TypeVar("_T", Block | Cover, Verdict | Refusal | Cover | Welcome)
_DEVICE: TypeAdapter[Block | Cover] = TypeAdapter(DeviceMessage)
_SERVER: TypeAdapter[Verdict | Refusal | Cover | Welcome] = TypeAdapter(ServerMessage)


def encode(message: Block | Cover | Verdict | Refusal | Welcome) -> bytes:
    """Encode a message as canonical CBOR (RFC 8949 §4.2.1: shortest forms, sorted keys).

    Raises :class:`WireError` if that is longer than ``MAX_MESSAGE_BYTES``, which no peer reads.
    """
    fields = message.model_dump(mode="python")
    plain = {k: str(v) if isinstance(v, StrEnum) else v for k, v in fields.items()}
    data = encode_item(plain)
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; send fewer states at a time")
    return data


def decode_device_message(data: bytes) -> Block | Cover:
    """Parse a device's message. Raises :class:`WireError` unless it is a canonical message."""
    return _parsed(_fields(data), data, _DEVICE)


def decode_server_message(data: bytes) -> Verdict | Refusal | Cover | Welcome:
    """Parse a verifier's message. Raises :class:`WireError` unless it is a canonical message, and
    its subclass :class:`UnknownVersion` for the welcome of another version, whatever its fields."""
    fields = _fields(data)
    version = fields.get("version") if fields.get("kind") == "welcome" else None
    if type(version) is int and 0 <= version <= _MAX_VERSION and version != WIRE_VERSION:
        raise UnknownVersion(version)
    return _parsed(fields, data, _SERVER)


def _fields(data: bytes) -> dict[Any, Any]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    fields = decode_item(data, max_depth=_MAX_DEPTH)
    if not isinstance(fields, dict):
        raise WireError("not a CBOR map")
    return fields


def _parsed(fields: dict[Any, Any], data: bytes, schema: TypeAdapter[_T]) -> _T:
    try:
        message = schema.validate_python(fields)
    except ValidationError as error:
        raise WireError(f"not a valid message: {error.error_count()} error(s)") from None
    if encode(message) != data:
        raise WireError("not canonical CBOR")
    return message
