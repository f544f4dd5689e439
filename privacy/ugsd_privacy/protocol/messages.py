"""The only message types that a device sends, and their canonical bytes.

What this schema does not name cannot be sent (law 2). It has no free text, user id, file name, time
stamp, audio, spectrogram or encoder frame. Every message is a closed pydantic model, encoded as
deterministic CBOR (RFC 8949 §4.2): an array of its fields in order, or a map for the welcome. It is
refused unless its bytes are canonical. This is wire version 2, as specified in docs/wire.md and
tested by the vectors in tests/conformance/vectors.

Terms: a caption is the token sequence ``t[0], t[1], ...`` after an implicit start token. The
*state* of position ``i`` is what the device discloses about the clip at that position, a vector in
the unit ball; the bundled drafters make one per clip, the same at every position. A *question* is a
block about one slot of the caption.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.dp.mechanism import MAX_EXPONENT
from ugsd_privacy.errors import UnknownVersion, WireError
from ugsd_privacy.strict_models import StrictModel

__all__ = [
    "MAX_CAPTION_TOKENS",
    "MAX_MESSAGE_BYTES",
    "MAX_PROJECTIONS",
    "MAX_STATE_DIM",
    "MAX_VALUES",
    "WIRE_VERSION",
    "AskedSlot",
    "Block",
    "ContinueTo",
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

WIRE_VERSION = 2
"""Version of the messages. What a version 2 peer would refuse or misread needs a new version."""

MAX_CAPTION_TOKENS = 256
"""Longest caption of any peer, in tokens."""
MAX_STATE_DIM = 128
"""Most coordinates of a state."""
MAX_PROJECTIONS = 16
"""Most state projections that one verifier reads."""
MAX_VALUES = 64
"""Most values of a slot."""
MAX_MESSAGE_BYTES = 16_384
"""Longest message that is encoded or decoded."""
_MAX_TOKEN_ID = 2**20 - 1
_MAX_VERSION = 255

_MAX_DEPTH = 2
"""A message is an array or a map, and holds arrays."""


TokenId = Annotated[int, Field(strict=True, ge=0, le=_MAX_TOKEN_ID)]
Position = Annotated[int, Field(strict=True, ge=0, le=MAX_CAPTION_TOKENS)]
Tokens = Annotated[tuple[TokenId, ...], Field(max_length=MAX_CAPTION_TOKENS)]
Ordinal = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
_Digest = Annotated[bytes, Field(strict=True, min_length=32, max_length=32)]


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
    DISTRIBUTIONS = "distributions"
    """``summary`` and the probabilities from which the device drew the value of the asked slot."""


class AskedSlot(IntEnum):
    """What a block is about. The value is its code on the wire."""

    ANY_TOKEN = 0
    """Any of the block's tokens: it is no question about a slot."""
    EMOTION = 1
    """The emotion that the first clause names."""


class ContinueTo(IntEnum):
    """How far a verifier may go on after the tokens that it accepts and corrects."""

    NOTHING = 0
    """It judges the block alone, in one forward pass."""
    CLAUSE = 1
    """To the end of the clause that was asked about."""
    CAPTION = 2
    """To the end of the caption."""


class Block(StrictModel):
    """Device to verifier: a question about a drafted block. Nothing else about a clip is sent."""

    kind: Literal["block"] = "block"
    """Why: distinguishes it from a cover."""
    caption: Ordinal
    """Ordinal of the caption within this session. Why: one session serves several captions."""
    slot: Annotated[AskedSlot, Field(strict=False)]
    """What is asked about. Why: the verifier judges this alone."""
    tokens: Annotated[Tokens, Field(min_length=1)]
    """The drafted block. Why: the verifier verifies it."""
    state_positions: Annotated[tuple[Position, ...], Field(max_length=MAX_CAPTION_TOKENS)] = ()
    """Ascending positions before the block's end whose states are enclosed. Why: a disclosure level
    encloses all, some or no states."""
    states: Annotated[bytes, Field(max_length=MAX_CAPTION_TOKENS * MAX_STATE_DIM)] = b""
    """Quantised states, ``(len(state_positions), state_dim)`` int8 row by row; a coordinate is
    value/127 times 2**``exponent``. Why: the only numbers about the voice that the verifier
    gets."""
    projection: Annotated[int, Field(strict=True, ge=0, lt=MAX_PROJECTIONS)] = 0
    """Index of the states' projection in the welcome's list. Why: one verifier serves several
    drafters."""
    keep: Position = 0
    """How many leading tokens of this caption the verifier has and keeps. Why: only new tokens are
    sent."""
    prefix: Tokens = ()
    """Committed tokens from ``keep`` on that the verifier does not have yet. Why: context."""
    continue_to: Annotated[ContinueTo, Field(strict=False)] = ContinueTo.NOTHING
    """How far the verifier may go on. Why: the device says what it will keep."""
    exponent: Annotated[int, Field(strict=True, ge=0, le=MAX_EXPONENT)] = 0
    """Power of two by which coordinates were divided. Why: strong noise would exceed the range of
    int8 otherwise."""
    draft_weights: Annotated[bytes, Field(max_length=MAX_VALUES)] = b""
    """Probabilities of the asked slot's values, as uint8 weights from which the device drew one.
    Why: speculative acceptance needs them; no other mode sends them."""

    @property
    def start(self) -> int:
        """Position of the block's first token."""
        return self.keep + len(self.prefix)

    @property
    def end(self) -> int:
        """Position after the block's last token."""
        return self.start + len(self.tokens)

    @property
    def state_dim(self) -> int:
        """Coordinates of each state; 0 without states."""
        return len(self.states) // len(self.state_positions) if self.state_positions else 0

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.end > MAX_CAPTION_TOKENS:
            raise ValueError(f"caption longer than {MAX_CAPTION_TOKENS} tokens")
        if len(self.states) != len(self.state_positions) * self.state_dim:
            raise ValueError("states do not match state_positions")
        if self.state_dim > MAX_STATE_DIM or bool(self.states) != bool(self.state_positions):
            raise ValueError(f"states must have 1 to {MAX_STATE_DIM} coordinates")
        if (self.projection or self.exponent) and not self.states:
            raise ValueError("a projection or an exponent without states")
        if self.draft_weights and (self.slot is AskedSlot.ANY_TOKEN or not any(self.draft_weights)):
            raise ValueError("draft weights without a slot, or all zero")
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
    projections: Annotated[tuple[_Digest, ...], Field(max_length=MAX_PROJECTIONS)]
    """SHA-256 of each state projection that the verifier reads. Why: a device refuses a verifier
    that cannot interpret its states, and names its projection by the index."""
    state_dim: Annotated[int, Field(strict=True, ge=0, le=MAX_STATE_DIM)]
    """Coordinates of the states that the verifier reads. Why: must match ``projections``."""
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
    correction: TokenId | None = None
    """Replacement for the first rejected token; ``None`` if all were accepted. Why: it is the
    verifier's own choice for that position."""
    continuation: Tokens = ()
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


_KINDS: Mapping[str, int] = MappingProxyType({"block": 0, "cover": 1, "verdict": 2, "refusal": 3})
"""Kind -> its code, the first item of a message. A welcome is a map with texts as keys, so that
every version can read it."""
_MODELS: Mapping[str, type[StrictModel]] = MappingProxyType(
    {"block": Block, "cover": Cover, "verdict": Verdict, "refusal": Refusal}
)
_NAMES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        _KINDS[kind]: tuple(name for name in model.model_fields if name != "kind")
        for kind, model in _MODELS.items()
    }
)
"""Code of a kind -> the fields that follow it, in order."""
_REFUSAL_CODES: Mapping[str, int] = MappingProxyType(
    {str(code): number for number, code in enumerate(RefusalCode)}
)


def encode(message: Block | Cover | Verdict | Refusal | Welcome) -> bytes:
    """Encode a message as canonical CBOR (RFC 8949 §4.2.1: shortest forms, sorted keys).

    Fields at the end that have their defaults are left out. Raises :class:`WireError` if that is
    longer than ``MAX_MESSAGE_BYTES``, which no peer reads.
    """
    data = encode_item(_plain(message))
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; send fewer states at a time")
    return data


def _plain(message: Block | Cover | Verdict | Refusal | Welcome) -> dict[str, Any] | list[Any]:
    fields = message.model_dump(mode="python")
    if isinstance(message, Welcome):
        return fields
    code = _KINDS[message.kind]
    if isinstance(message, Refusal):
        return [code, _REFUSAL_CODES[message.code]]
    names = list(_NAMES[code])
    models = type(message).model_fields
    while names and fields[names[-1]] == models[names[-1]].default:
        names.pop()
    values = (fields[name] for name in names)
    return [code, *(int(value) if isinstance(value, IntEnum) else value for value in values)]


def _fields_of(item: object) -> dict[str, Any]:
    """Return the fields of a decoded message by name. Raises :class:`WireError`."""
    if isinstance(item, dict):
        return item
    if not isinstance(item, tuple) or not item or type(item[0]) is not int:
        raise WireError("neither an array with a kind nor a map")
    kind = next((kind for kind, code in _KINDS.items() if code == item[0]), None)
    if kind is None:
        raise WireError("not a message of a known kind")
    names, values = _NAMES[item[0]], item[1:]
    if len(values) > len(names):
        raise WireError(f"a {kind} with too many fields")
    fields: dict[str, Any] = {"kind": kind, **dict(zip(names, values, strict=False))}
    if kind == "refusal":
        codes = {code: name for name, code in _REFUSAL_CODES.items()}
        code = fields.get("code")
        fields["code"] = codes.get(code) if type(code) is int else None
    return fields


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


def _fields(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    return _fields_of(decode_item(data, max_depth=_MAX_DEPTH))


def _parsed(fields: dict[str, Any], data: bytes, schema: TypeAdapter[_T]) -> _T:
    try:
        message = schema.validate_python(fields)
    except ValidationError as error:
        raise WireError(f"not a valid message: {error.error_count()} error(s)") from None
    if encode(message) != data:
        raise WireError("not canonical CBOR")
    return message
