from __future__ import annotations

import re
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.dp.mechanism import MAX_EXPONENT
from ugsd_privacy.errors import UnknownVersion, WireError
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_MESSAGE_BYTES,
    MAX_PROJECTIONS,
    MAX_STATE_DIM,
    WIRE_VERSION,
    AskedSlot,
    Block,
    ContinueTo,
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
    size = len(positions) * draw(st.integers(1, MAX_STATE_DIM))
    slot = draw(st.sampled_from(AskedSlot))
    draft_weights = draw(st.binary(max_size=64).filter(lambda weights: not weights or any(weights)))
    return Block(
        caption=draw(ordinal),
        slot=slot,
        tokens=tuple(tokens),
        state_positions=tuple(positions),
        states=draw(st.binary(min_size=size, max_size=size)),
        projection=draw(st.integers(0, MAX_PROJECTIONS - 1)) if positions else 0,
        keep=keep,
        prefix=tuple(prefix),
        continue_to=draw(st.sampled_from(ContinueTo)),
        exponent=draw(st.integers(0, MAX_EXPONENT)) if positions else 0,
        draft_weights=b"" if slot is AskedSlot.ANY_TOKEN else draft_weights,
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
    projections=st.lists(digests, max_size=MAX_PROJECTIONS).map(tuple),
    state_dim=st.integers(0, MAX_STATE_DIM),
    max_tokens=st.integers(1, MAX_CAPTION_TOKENS),
)
refusals = st.builds(Refusal, code=st.sampled_from(RefusalCode))

BLOCK = Block(
    caption=3,
    slot=AskedSlot.EMOTION,
    tokens=(6, 7),
    state_positions=(2,),
    states=b"\1\2",
    keep=1,
    prefix=(5,),
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
    hostile: list[object] = [fields | {"kind": "cover"}, {"kind": "cover"}]
    hostile += [[1, *fields.values()], [1, fields], [1, None]]
    for decode in (decode_device_message, decode_server_message):
        assert decode(b"\x81\x01") == Cover()
        for item in hostile:
            with pytest.raises(WireError):
                decode(cbor2.dumps(item, canonical=True))


@pytest.mark.parametrize("version", [0, 1, WIRE_VERSION + 1, 255])
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
    assert encode(BLOCK).hex() == "890003018206078102420102000181" + "05"


VERSION_1: dict[str, dict[str, object]] = {
    "block of 5 tokens and 6 numbers": {
        **{"kind": "block", "caption": 0, "keep": 0, "prefix": [], "tokens": [12, 7, 300, 21, 94]},
        **{"state_positions": [0], "state_dim": 6, "states": bytes(6)},
    },
    "block of 1 token and 31 numbers": {
        **{"kind": "block", "caption": 0, "keep": 0, "prefix": [], "tokens": [12]},
        **{"state_positions": [0], "state_dim": 31, "states": bytes(31)},
    },
    "verdict that corrects": {
        **{"kind": "verdict", "caption": 0, "start": 0, "accepted": 4, "correction": 95},
        "continuation": [],
    },
    "cover": {"kind": "cover"},
    "refusal": {"kind": "refusal", "code": "overloaded"},
    "welcome": {
        **{"kind": "welcome", "version": 1, "vocabulary": bytes(32), "projection": bytes(32)},
        **{"state_dim": 6, "max_tokens": 64},
    },
}
VERSION_2: dict[str, Block | Cover | Verdict | Refusal | Welcome] = {
    "block of 5 tokens and 6 numbers": Block(
        caption=0,
        slot=AskedSlot.EMOTION,
        tokens=(12, 7, 300, 21, 94),
        state_positions=(0,),
        states=bytes(6),
    ),
    "block of 1 token and 31 numbers": Block(
        caption=0, slot=AskedSlot.EMOTION, tokens=(12,), state_positions=(0,), states=bytes(31)
    ),
    "verdict that corrects": Verdict(caption=0, start=0, accepted=4, correction=95),
    "cover": Cover(),
    "refusal": Refusal(code=RefusalCode.OVERLOADED),
    "welcome": Welcome(
        version=2,
        vocabulary=bytes(32),
        projections=(bytes(32),),
        state_dim=6,
        max_tokens=64,
    ),
}
"""The same messages."""


@pytest.mark.parametrize("message", VERSION_1.values(), ids=VERSION_1)
def test_message_of_version_1_is_refused(message: dict[str, object]) -> None:
    data = cbor2.dumps(message, canonical=True)
    for decode in (decode_device_message, decode_server_message):
        with pytest.raises(WireError):
            decode(data)


def test_document_states_measured_sizes_of_versions() -> None:
    text = Path("docs/wire.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    sizes = {
        name: (len(cbor2.dumps(VERSION_1[name], canonical=True)), len(encode(message)))
        for name, message in VERSION_2.items()
    }
    found = {name: (int(first), int(second)) for name, first, second in rows if name in sizes}
    assert found == sizes


@given(blocks())
def test_defaults_at_the_end_are_left_out(block: Block) -> None:
    fields = cbor2.loads(encode(block))
    names = [name for name in Block.model_fields if name != "kind"]
    last = Block.model_fields[names[len(fields) - 2]]
    assert last.is_required() or fields[-1] not in ([], last.default)
    written = dict(zip(names, fields[1:], strict=False))
    default = Block.model_fields[names[len(written)]].default if len(written) < len(names) else 0
    with pytest.raises(WireError):
        decode_device_message(cbor2.dumps([*fields, default], canonical=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": 2},
        {"slot": True},
        {"slot": "1"},
        {"slot": 1.0},
        {"continue_to": 3},
        {"continue_to": True},
        {"projection": MAX_PROJECTIONS},
        {"exponent": MAX_EXPONENT + 1},
        {"states": b"\1\2", "state_positions": [1, 2, 3]},
        {"states": b"", "state_positions": [2]},
        {"states": b"\1", "state_positions": []},
        {"states": bytes(MAX_STATE_DIM + 1)},
        {"states": b"", "state_positions": [], "projection": 1},
        {"states": b"", "state_positions": [], "exponent": 1},
        {"state_positions": [4]},
        {"states": b"\1\2", "state_positions": [2, 1]},
        {"draft_weights": b"\0"},
        {"draft_weights": b"\1" * 65},
        {"slot": 0, "draft_weights": b"\1"},
        {"tokens": []},
    ],
    ids=str,
)
def test_block_outside_the_schema_is_refused(changes: dict[str, object]) -> None:
    names = [name for name in Block.model_fields if name != "kind"]
    fields: dict[str, object] = {name: getattr(BLOCK, name) for name in names}
    fields |= {"slot": 1, "continue_to": 2}
    assert decode_device_message(_array(fields)).continue_to is ContinueTo.CAPTION
    with pytest.raises(WireError):
        decode_device_message(_array(fields | changes))


def _array(fields: dict[str, object]) -> bytes:
    """Encode a block with as many fields as it needs."""
    items = [0, *fields.values()]
    for default in (b"", 0):
        if items[-1] == default and type(items[-1]) is type(default):
            items.pop()
    return cbor2.dumps(items, canonical=True)


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
FIELDS = [name for name in Block.model_fields if name != "kind"]


@given(st.dictionaries(st.sampled_from([*FIELDS, "user", "audio"]), plain), st.booleans())
def test_arbitrary_cbor_parses_or_raises_wire_error(
    fields: dict[str, object], canonical: bool
) -> None:
    items = [0, *(fields.get(name, getattr(BLOCK, name)) for name in FIELDS)]
    for item in (items, items[: 1 + len(fields)], fields):
        data = cbor2.dumps(item, canonical=canonical)
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
    "empty array": b"\x80",
    "unknown kind": b"\x81\x04",
    "kind that is no number": b"\x81\xf5",
    "array within arrays": b"\x83\x00\x00\x81\x81\x01",
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
        slot=AskedSlot.ANY_TOKEN,
        tokens=positions,
        state_positions=positions,
        states=bytes(MAX_CAPTION_TOKENS * MAX_STATE_DIM),
    )
    with pytest.raises(WireError, match="fewer states"):
        encode(block)


def test_fields_outside_the_schema_cannot_be_sent() -> None:
    assert set(Block.model_fields) == {
        *("kind", "caption", "slot", "tokens", "state_positions", "states", "projection"),
        *("keep", "prefix", "continue_to", "exponent", "draft_weights"),
    }
    assert set(Cover.model_fields) == {"kind"}
