"""The only types that may leave the device, and their canonical bytes.

What this schema does not name cannot leave (law 2). There is no free text, user id, file name, time
stamp, audio, spectrogram or encoder frame in it. Every message is a closed pydantic model, written
as deterministic CBOR (RFC 8949 §4.2) and refused unless its bytes are the canonical ones. This is
wire version 1, written down in docs/wire.md and held by the vectors in tests/conformance/vectors.

Words: a caption is the token sequence ``t[0], t[1], ...`` after an implicit start token. The
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
"""Version of the messages. Whatever a version 1 peer would refuse or misread needs another."""

MAX_CAPTION_TOKENS = 256
"""Longest caption of any peer."""
MAX_STATE_DIM = 128
"""Most coordinates of a state."""
MAX_MESSAGE_BYTES = 16_384
"""Longest message that is written or read."""
_MAX_TOKEN_ID = 2**20 - 1
_MAX_VERSION = 255

_MAX_DEPTH = 2
"""A message is a map that holds arrays."""


TokenId = Annotated[int, Field(strict=True, ge=0, le=_MAX_TOKEN_ID)]
Position = Annotated[int, Field(strict=True, ge=0, le=MAX_CAPTION_TOKENS)]
Tokens = Annotated[tuple[TokenId, ...], Field(max_length=MAX_CAPTION_TOKENS)]
Ordinal = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]


class Disclosure(StrEnum):
    """How much leaves with a block, from least to most."""

    TOKENS = "tokens"
    """Token ids of the block and of the prefix that the verifier does not hold yet."""
    SUMMARY = "summary"
    """``tokens`` and, once per caption, the state of position 0."""
    BLOCK_STATES = "block_states"
    """``tokens`` and the state of every token of the block."""
    ALL_STATES = "all_states"
    """``block_states`` and the states of the prefix tokens sent with it."""


class Block(StrictModel):
    """Device to verifier: a drafted block to verify. Nothing else about a clip ever leaves."""

    kind: Literal["block"] = "block"
    """Why: tells it from a cover."""
    caption: Ordinal
    """Ordinal of the caption within this session. Why: one session serves several captions."""
    keep: Position
    """How many leading tokens of this caption the verifier holds and may keep. Why: deltas."""
    prefix: Tokens
    """Committed tokens from ``keep`` on that the verifier has not seen. Why: context."""
    tokens: Annotated[Tokens, Field(min_length=1)]
    """The drafted block itself. Why: it is what is to be verified."""
    state_positions: Annotated[tuple[Position, ...], Field(max_length=MAX_CAPTION_TOKENS)]
    """Ascending positions, below the block's end, whose states are enclosed. Why: a disclosure
    encloses some or none, and a state counts where it was drafted from."""
    state_dim: Annotated[int, Field(strict=True, ge=0, le=MAX_STATE_DIM)]
    """Coordinates of each state, 0 without any. Why: cuts ``states`` into rows."""
    states: Annotated[bytes, Field(max_length=MAX_CAPTION_TOKENS * MAX_STATE_DIM)]
    """Quantised states, ``(len(state_positions), state_dim)`` int8 row by row; value/127 is the
    coordinate. Why: the verifier's only evidence about the voice."""

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
    """Either way: nothing at all, for a caption of which no block leaves, and the answer to it.

    Why: in constant shape such a caption looks like any other.
    """

    kind: Literal["cover"] = "cover"
    """Why: tells it from a block, and from a verdict."""


class Welcome(StrictModel):
    """Verifier to device, inside the handshake's answer: what this verifier can check."""

    kind: Literal["welcome"] = "welcome"
    """Why: with ``version``, the one thing that welcomes of all versions share."""
    version: Annotated[int, Field(strict=True, ge=0, le=_MAX_VERSION)]
    """Wire version that the verifier speaks. Why: a device refuses any but its own."""
    vocabulary: Annotated[bytes, Field(min_length=32, max_length=32)]
    """SHA-256 of the vocabulary file. Why: a device refuses a verifier to which its token ids mean
    other words."""
    projection: Annotated[bytes, Field(min_length=32, max_length=32)]
    """SHA-256 that names the state projection the verifier was trained on. Why: a device refuses
    one to which its states mean nothing."""
    state_dim: Annotated[int, Field(strict=True, ge=0, le=MAX_STATE_DIM)]
    """Coordinates of the states that it reads. Why: goes with ``projection``."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=MAX_CAPTION_TOKENS)]
    """Longest caption that it reads. Why: no block beyond it leaves in vain."""


class Verdict(StrictModel):
    """Verifier to device: what becomes of a block."""

    kind: Literal["verdict"] = "verdict"
    """Why: tells it from a refusal, and from a cover."""
    caption: Ordinal
    """The block's caption, echoed. Why: a verdict on anything else is told and refused."""
    start: Position
    """Position of the block's first token, echoed. Why: as ``caption``."""
    accepted: Position
    """How many leading tokens of the block are accepted. Why: the device keeps these."""
    correction: TokenId | None
    """Replacement for the first rejected token; ``None`` where all were accepted. Why: what the
    verifier would have said there."""
    continuation: Tokens
    """Tokens that follow the correction, or the block that passed. Why: saves round trips."""

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        length = self.start + self.accepted + (self.correction is not None) + len(self.continuation)
        if length > MAX_CAPTION_TOKENS:
            raise ValueError(f"verdict makes the caption longer than {MAX_CAPTION_TOKENS} tokens")
        return self


class RefusalCode(StrEnum):
    """Why a verifier would not answer a block."""

    BAD_MESSAGE = "bad_message"
    """No message of a device, or one that the model cannot read."""
    UNKNOWN_PREFIX = "unknown_prefix"
    """It keeps tokens that the verifier does not hold."""
    TOO_LARGE = "too_large"
    """A longer caption than the verifier reads, or an answer that its frame cannot hold."""
    OVERLOADED = "overloaded"
    """Too many blocks wait."""
    INTERNAL = "internal"
    """The model failed."""


class Refusal(StrictModel):
    """Verifier to device: no verdict, and why; never any detail of the peer's failure."""

    kind: Literal["refusal"] = "refusal"
    """Why: tells it from a verdict."""
    code: Annotated[RefusalCode, Field(strict=False)]
    """Why: what a device does next depends on it."""


DeviceMessage = Annotated[Block | Cover, Field(discriminator="kind")]
ServerMessage = Annotated[Verdict | Refusal | Cover | Welcome, Field(discriminator="kind")]

_T = TypeVar("_T", Block | Cover, Verdict | Refusal | Cover | Welcome)
_DEVICE: TypeAdapter[Block | Cover] = TypeAdapter(DeviceMessage)
_SERVER: TypeAdapter[Verdict | Refusal | Cover | Welcome] = TypeAdapter(ServerMessage)


def encode(message: Block | Cover | Verdict | Refusal | Welcome) -> bytes:
    """Canonical CBOR of a message (RFC 8949 §4.2.1: shortest forms, sorted keys).

    Raises :class:`WireError` for a message of more than ``MAX_MESSAGE_BYTES``, which no peer reads.
    """
    fields = message.model_dump(mode="python")
    plain = {k: str(v) if isinstance(v, StrEnum) else v for k, v in fields.items()}
    data = encode_item(plain)
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; send fewer states at a time")
    return data


def decode_device_message(data: bytes) -> Block | Cover:
    """Parse what a device sent. Raises :class:`WireError` for anything but a canonical message."""
    return _parsed(_fields(data), data, _DEVICE)


def decode_server_message(data: bytes) -> Verdict | Refusal | Cover | Welcome:
    """Parse what a verifier sent. Raises :class:`WireError` unless it is a canonical message, and
    its kind :class:`UnknownVersion` for another version's welcome, whatever else that holds."""
    fields = _fields(data)
    version = fields.get("version") if fields.get("kind") == "welcome" else None
    if type(version) is int and 0 <= version <= _MAX_VERSION and version != WIRE_VERSION:
        raise UnknownVersion(version)
    return _parsed(fields, data, _SERVER)


def _fields(data: bytes) -> dict[Any, Any]:
    """The map that ``data`` is."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    fields = decode_item(data, max_depth=_MAX_DEPTH)
    if not isinstance(fields, dict):
        raise WireError("not one CBOR map")
    return fields


def _parsed(fields: dict[Any, Any], data: bytes, schema: TypeAdapter[_T]) -> _T:
    try:
        message = schema.validate_python(fields)
    except ValidationError as error:
        raise WireError(f"not a known message: {error.error_count()} fault(s)") from None
    if encode(message) != data:
        raise WireError("not canonical CBOR")
    return message
