from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.errors import UnknownVersion, WireError
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_MESSAGE_BYTES,
    MAX_STATE_DIM,
    WIRE_VERSION,
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    decode_device_message,
    decode_server_message,
    encode,
)

token = st.integers(0, 2**20 - 1)
ordinal = st.integers(0, 2**32 - 1)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    keep = draw(st.integers(0, 100))
    prefix = draw(st.lists(token, max_size=20))
    tokens = draw(st.lists(token, min_size=1, max_size=20))
    end = keep + len(prefix) + len(tokens)
    positions = sorted(draw(st.sets(st.integers(0, end - 1), max_size=12)))
    dim = draw(st.integers(0, MAX_STATE_DIM))
    size = len(positions) * dim
    return Block(
        caption=draw(ordinal),
        keep=keep,
        prefix=tuple(prefix),
        tokens=tuple(tokens),
        state_positions=tuple(positions),
        state_dim=dim,
        states=draw(st.binary(min_size=size, max_size=size)),
    )


verdicts = st.builds(
    Verdict,
    caption=ordinal,
    start=st.integers(0, 100),
    accepted=st.integers(0, 50),
    correction=st.none() | token,
    continuation=st.lists(token, max_size=50).map(tuple),
)
digests = st.binary(min_size=32, max_size=32)
welcomes = st.builds(
    Welcome,
    version=st.just(WIRE_VERSION),
    vocabulary=digests,
    projection=digests,
    state_dim=st.integers(0, MAX_STATE_DIM),
    max_tokens=st.integers(1, MAX_CAPTION_TOKENS),
)
refusals = st.builds(Refusal, code=st.sampled_from(RefusalCode))

BLOCK = Block(
    caption=3, keep=1, prefix=(5,), tokens=(6, 7), state_positions=(2,), state_dim=2, states=b"\1\2"
)


@given(blocks() | st.just(Cover()))
def test_device_message_round_trips(message: Block | Cover) -> None:
    assert decode_device_message(encode(message)) == message


@given(verdicts | welcomes | refusals | st.just(Cover()))
def test_verifier_message_round_trips(
    message: Verdict | Welcome | Refusal | Cover,
) -> None:
    assert decode_server_message(encode(message)) == message


COVERED = st.dictionaries(
    st.sampled_from([*Block.model_fields, *Verdict.model_fields, "cover", "user", ""]),
    st.none() | st.integers(0, 300) | st.binary(max_size=8) | st.text(max_size=8),
    min_size=1,
)


@given(COVERED)
def test_cover_has_no_content(fields: dict[str, object]) -> None:
    for decode in (decode_device_message, decode_server_message):
        data = cbor2.dumps(fields | {"kind": "cover"}, canonical=True)
        if fields.keys() == {"kind"}:
            assert decode(data) == Cover()
            continue
        with pytest.raises(WireError):
            decode(data)


@pytest.mark.parametrize("version", [0, WIRE_VERSION + 1, 255])
@pytest.mark.parametrize(
    "others", [{}, {"vocabularies": [bytes(32)]}, {"max_tokens": "many"}, {"features": {"a": 1}}]
)
def test_welcome_of_another_version_is_reported(version: int, others: dict[str, object]) -> None:
    data = cbor2.dumps({"kind": "welcome", "version": version} | others, canonical=True)
    with pytest.raises(UnknownVersion, match=str(version)) as unknown:
        decode_server_message(data)
    assert unknown.value.version == version
    with pytest.raises(WireError) as strange:
        decode_device_message(data)
    assert not isinstance(strange.value, UnknownVersion)


@pytest.mark.parametrize("version", [-1, 256, WIRE_VERSION, "2", None])
def test_welcome_without_valid_version_is_refused(version: object) -> None:
    data = cbor2.dumps({"kind": "welcome", "version": version}, canonical=True)
    with pytest.raises(WireError) as strange:
        decode_server_message(data)
    assert not isinstance(strange.value, UnknownVersion)


def test_canonical_bytes_of_block_are_unchanged() -> None:
    assert encode(BLOCK).hex() == (
        "a8646b65657001646b696e6465626c6f636b66707265666978810566737461746573420102"
        "66746f6b656e738206076763617074696f6e036973746174655f64696d02"
        "6f73746174655f706f736974696f6e738102"
    )


@given(st.binary(max_size=300))
def test_arbitrary_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    for decode in (decode_device_message, decode_server_message):
        try:
            message = decode(data)
        except WireError:
            continue
        assert encode(message) == data


@given(st.data())
def test_damaged_message_parses_or_raises_wire_error(data: st.DataObject) -> None:
    sound = encode(BLOCK)
    at = data.draw(st.integers(0, len(sound) - 1))
    piece = data.draw(st.binary(max_size=4))
    damaged = sound[:at] + piece + sound[at + data.draw(st.integers(0, 4)) :]
    with suppress(WireError):
        assert encode(decode_device_message(damaged)) == damaged


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)
FIELDS = sorted(Block.model_fields)


@given(st.dictionaries(st.sampled_from([*FIELDS, "user", "audio"]), plain), st.booleans())
def test_arbitrary_cbor_parses_or_raises_wire_error(
    fields: dict[str, object], canonical: bool
) -> None:
    sound = {name: getattr(BLOCK, name) for name in FIELDS}
    data = cbor2.dumps(sound | fields, canonical=canonical)
    with suppress(WireError):
        assert encode(decode_device_message(data)) == data


def head(major: int, argument: int) -> bytes:
    return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")


HOSTILE = {
    "bytes that claim 2**40": head(2, 2**40) + b"abc",
    "text that claims 2**63": head(3, 2**63) + b"abc",
    "array that claims 2**40": head(4, 2**40) + b"\1",
    "map that claims 2**64-1": head(5, 2**64 - 1) + b"\1",
    "10k nested arrays": b"\x81" * 10_000 + b"\0",
    "10k nested maps": b"\xa1\0" * 5_000 + b"\0",
    "10k nested tags": b"\xc1" * 10_000 + b"\0",
    "indefinite array": b"\x9f" + b"\1" * 100 + b"\xff",
    "indefinite bytes": b"\x5f\x41a\xff",
    "regular expression": b"\xd8\x23\x67(a+)+$b",
    "MIME message": b"\xd8\x24\x64a: b",
    "huge decimal": b"\xc4\x82\x1a\x7f\xff\xff\xff\x01",
    "big integer": b"\xc2\x59\x3f\x00" + b"\xff" * 16_128,
    "cyclic value": b"\xd8\x1c\x81\xd8\x1d\x00",
    "float": b"\xf9\x3c\x00",
    "undefined": b"\xf7",
    "break": b"\xff",
    "reserved length": b"\x1c",
    "head cut short": b"\x1b\0\0",
    "nothing": b"",
    "two items": encode(BLOCK) + b"\0",
    "map with an array as key": b"\xa1\x81\x01\x01",
    "list": b"\x80",
    "too long": b"\0" * (MAX_MESSAGE_BYTES + 1),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused_cheaply(data: bytes) -> None:
    tracemalloc.start()
    start_s = time.process_time()
    for decode in (decode_device_message, decode_server_message):
        with pytest.raises(WireError):
            decode(data)
    elapsed_s = time.process_time() - start_s
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed_s < 0.5
    assert peak_bytes < 2**20


def test_too_long_message_is_not_encoded() -> None:
    positions = tuple(range(MAX_CAPTION_TOKENS))
    block = Block(
        caption=0,
        keep=0,
        prefix=(),
        tokens=positions,
        state_positions=positions,
        state_dim=MAX_STATE_DIM,
        states=bytes(MAX_CAPTION_TOKENS * MAX_STATE_DIM),
    )
    with pytest.raises(WireError, match="fewer states"):
        encode(block)


def test_fields_outside_the_schema_cannot_be_sent() -> None:
    assert set(Block.model_fields) == {
        *("kind", "caption", "keep", "prefix", "tokens", "state_positions", "state_dim", "states")
    }
    assert set(Cover.model_fields) == {"kind"}
