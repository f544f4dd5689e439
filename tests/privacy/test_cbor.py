"""The CBOR decoder accepts only what closed schemas need."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.errors import WireError

items = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def plain(item: Any) -> Any:
    """Normalise arrays to lists, maps to dicts, and floats so that NaNs and zeros are distinct."""
    match item:
        case float():
            return item.hex()
        case list() | tuple():
            return [plain(value) for value in item]
        case dict() | cbor2.frozendict():
            return {key: plain(value) for key, value in item.items()}
    return item


@given(items)
def test_items_round_trip(item: object) -> None:
    data = encode_item(item)
    read = decode_item(data, max_depth=16)
    assert plain(read) == plain(item)
    assert encode_item(read) == data


@given(tag=st.integers(0, 2**64 - 1), item=items)
def test_every_tag_is_refused(tag: int, item: object) -> None:
    for inside in (lambda tagged: tagged, lambda tagged: [tagged], lambda tagged: {"a": tagged}):
        data = cbor2.dumps(inside(cbor2.CBORTag(tag, item)))
        with pytest.raises(WireError, match=f"CBOR tag {tag}"):
            decode_item(data, max_depth=16)


def test_built_in_tags_of_decoder_are_refused() -> None:
    own = [*range(6), *range(21, 38), 100, *range(256, 262), 1004, 43_000, 55_799]
    for tag in own:
        with pytest.raises(WireError, match=f"CBOR tag {tag}"):
            decode_item(cbor2.dumps(cbor2.CBORTag(tag, b"1")), max_depth=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x9f\x01\xff",
        b"\xbf\xff",
        b"\x5f\x41a\xff",
        b"\x7f\x61a\xff",
        b"\xff",
        b"\x1c",
        b"\x1b\0\0",
        b"\x62\xc3\x28",
        b"\xa1\x01\x02",
        b"\xa1\x80\x01",
        b"\xa2\x61a\x01\x61a\x02",
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
    ],
)
def test_unneeded_cbor_features_are_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="not valid strict CBOR"):
        decode_item(data, max_depth=16)


@pytest.mark.parametrize("opened", [b"\x81", b"\xa1\x60"])
def test_nesting_depth_is_limited(opened: bytes) -> None:
    for depth in range(1, 5):
        assert decode_item(opened * depth + b"\0", max_depth=depth)
        for deeper in (1, 2, 5000):
            with pytest.raises(WireError, match="depth"):
                decode_item(opened * (depth + deeper) + b"\0", max_depth=depth)


def test_rfc_8949_examples_are_read_or_refused(request: pytest.FixtureRequest) -> None:
    """Appendix A: items in other than deterministic bytes are detected or refused."""
    vectors = json.loads(Path(request.path.parent / "vectors" / "rfc8949.json").read_text())
    for vector in vectors:
        data = bytes.fromhex(vector["hex"])
        try:
            item = decode_item(data, max_depth=16)
        except WireError:
            refused = True
        else:
            refused = encode_item(item) != data
        assert refused != vector["kept"], vector


@pytest.mark.parametrize(
    "data",
    [
        b"\xa6" + b"\x61a\x01" * 6,
        b"\x9b" + (11).to_bytes(8, "big") + b"\x01" * 11,
        b"\x99\x00\x0b" + b"\x01" * 11,
        b"\x98\x0b" + b"\x01" * 11,
        b"\x82\x85" + b"\x01" * 5 + b"\x86" + b"\x01" * 6,
        b"\xa1\x60\x8b" + b"\x01" * 11,
    ],
)
def test_items_in_all_containers_are_counted(data: bytes) -> None:
    with pytest.raises(WireError, match="more than 10 items"):
        decode_item(data, max_depth=4, max_items=10)
    with suppress(WireError):
        assert decode_item(data, max_depth=4, max_items=20)


def test_long_strings_count_as_one_item() -> None:
    for head in (b"\x59\x03\xe8", b"\x5a\x00\x00\x03\xe8", b"\x5b" + (1000).to_bytes(8, "big")):
        data = b"\x82" + (head + b"\xff" * 1000) * 2
        assert decode_item(data, max_depth=4, max_items=3) == (b"\xff" * 1000,) * 2
