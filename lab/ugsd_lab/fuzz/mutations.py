"""Makes hostile bytes from sound ones: damaged, encoded in unusual ways, or of another schema."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

__all__ = ["cbor", "changed", "damaged", "spliced", "wild"]

_DEEPEST = 4_000
_MOST_DOUBLINGS = 23
"""Limits a successful bomb to some seconds: long enough to be found, and to end."""
_EDGES = (0, 1, 23, 24, 127, 255, 256, 257, 2**16, 2**20 - 1, 2**20, 2**32, 2**53, 2**63, 2**64 - 1)
_TAGS = (0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 55799, 2**32)


def damaged(rng: Random, data: bytes, other: bytes) -> bytes:
    """Return ``data`` with one to three faults of transmission or splicing; ``other`` is spliced
    in."""
    for _ in range(rng.randint(1, 3)):
        at, end = sorted(rng.randint(0, len(data)) for _ in range(2))
        match rng.randrange(8):
            case 0 if data:
                at = rng.randrange(len(data))
                flipped = data[at] ^ 1 << rng.randrange(8)
                data = data[:at] + bytes([flipped]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.randbytes(1) + data[at + 1 :]
            case 2:
                data = data[:at]
            case 3:
                data = data[:at] + data[end:]
            case 4:
                data = data[:end] + data[at:]
            case 5:
                data = data[:at] + rng.randbytes(rng.randint(1, 64)) + data[at:]
            case 6:
                data = data[:at] + other[min(at, len(other)) :]
            case _:
                data += bytes(rng.choice((1, 16, 128)))
    return data


def changed(rng: Random, fields: Mapping[Any, object]) -> dict[Any, object]:
    """Return ``fields`` with another schema: swapped, lost, foreign, of another type or out of
    range."""
    made: dict[Any, object] = dict(fields)
    for _ in range(rng.randint(1, 3)):
        name, second = rng.choice(list(made) or ["kind"]), rng.choice(list(made) or ["kind"])
        match rng.randrange(5):
            case 0 if name in made and second in made:
                made[name], made[second] = made[second], made[name]
            case 1:
                made.pop(name, None)
            case 2:
                made[_value(rng, 0)] = _value(rng, 1)
            case _:
                made[name] = _near(rng, made.get(name))
    return made


def cbor(rng: Random, value: object, wildness: float = 0.0) -> bytes:  # noqa: PLR0911  (a type each)
    """Encode ``value`` as CBOR (RFC 8949 §3): canonical, except each item with probability
    ``wildness``."""
    if rng.random() < wildness:
        return wild(rng, value)
    match value:
        case None | bool():
            return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
        case int():
            return _head(1, -1 - value) if value < 0 else _head(0, value)
        case float():
            return _float(value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case dict():
            items = [(cbor(rng, k, wildness / 4), cbor(rng, v, wildness)) for k, v in value.items()]
            items.sort(key=lambda item: (len(item[0]), item[0]))
            return _head(5, len(items)) + b"".join(k + v for k, v in items)
        case list() | tuple():
            return _head(4, len(value)) + b"".join(cbor(rng, v, wildness / 2) for v in value)
    raise TypeError(type(value).__name__)


def wild(rng: Random, value: object) -> bytes:
    """Encode ``value`` in a way that no message uses, or something else in its place."""
    plain = cbor(rng, value)
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: _longer(rng, plain),
        lambda: _indefinite(rng, plain),
        lambda: _head(rng.randint(2, 5), rng.choice((2**40, 2**62, 2**64 - 1))) + plain,
        lambda: _head(6, rng.choice(_TAGS)) + plain,
        lambda: rng.choice((b"\xf9", b"\xfa", b"\xfb")) + rng.randbytes(8),
        lambda: bytes([rng.choice((0xE0, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF, 0x1C, 0x5D, 0x9E))]) + plain,
        lambda: rng.choice((b"\x81", b"\xc1", b"\xa1\x00", b"\x9f", b"\xd8\x1c\x81"))
        * rng.randint(1, _DEEPEST) + plain,
        lambda: _head(6, rng.randint(2, 3)) + cbor(rng, rng.randbytes(rng.choice((0, 9, 2000)))),
        lambda: _head(6, 4 + rng.randrange(2)) + b"\x82" + cbor(rng, rng.choice(_EDGES)) + plain,
        lambda: b"\x62" + rng.choice((b"\xff\xfe", b"\xc0\x80", b"\xed\xa0")) + plain,
        lambda: _bomb(rng.randint(1, _MOST_DOUBLINGS)),
        lambda: _twice(plain),
        lambda: cbor(rng, _value(rng, 2)),
        lambda: rng.randbytes(rng.randint(0, 40)),
    )  # fmt: skip
    return rng.choice(makers)()


def _bomb(doublings: int) -> bytes:
    """Return a map whose key nests an array of itself twice by shared references (tags 28 and 29):
    hashing it takes ``2**doublings`` steps."""
    key = b"\xd8\x1c\x81\x01"
    for depth in reversed(range(doublings)):
        key = b"\xd8\x1c\x82" + key + b"\xd8\x1d" + _head(0, depth + 1)
    return b"\xa1" + key + b"\x01"


def _twice(plain: bytes) -> bytes:
    """Repeat a map's items, so that its keys are duplicates; turn another item into an array of
    two."""
    count = plain[0] & 0x1F
    if plain[0] >> 5 == 5 and 0 < count < 12:
        return bytes([0xA0 | 2 * count]) + 2 * plain[1:]
    return b"\x82" + plain + plain


def _longer(rng: Random, plain: bytes) -> bytes:
    """Encode the same item with a longer head than necessary."""
    major, info = plain[0] >> 5, plain[0] & 0x1F
    if info >= 24 or major > 5:
        return plain
    width = rng.randrange(4)
    return bytes([major << 5 | 24 + width]) + info.to_bytes(1 << width, "big") + plain[1:]


def _indefinite(rng: Random, plain: bytes) -> bytes:
    major, info = plain[0] >> 5, plain[0] & 0x1F
    stop = rng.choice((b"\xff", b"\xff", b""))
    if major in (4, 5) and info < 24:
        return bytes([major << 5 | 0x1F]) + plain[1:] + stop
    return bytes([rng.randint(2, 5) << 5 | 0x1F]) + plain + stop


def _near(rng: Random, value: object) -> object:
    """Return another value of the same type, a value at an edge, or one of another type."""
    match value:
        case int() if rng.random() < 0.7:
            return rng.choice((value + 1, value - 1, -value, rng.choice(_EDGES)))
        case tuple() | list() if rng.random() < 0.7:
            longer = [*value, *(rng.choice(_EDGES) for _ in range(rng.choice((1, 2, 300))))]
            return rng.choice((longer, longer[::-1], list(value[1:]), [value], list(value) * 2))
        case bytes() if rng.random() < 0.7:
            return rng.choice((value[:-1], value + b"\0", rng.randbytes(len(value)), value * 2))
        case str() if rng.random() < 0.7:
            return rng.choice((value.upper(), value + "\0", "", "welcome", "cover", "verdict", "é"))
        case dict() if value and rng.random() < 0.7:
            return changed(rng, value)
    return _value(rng, 2)


def _value(rng: Random, depth: int) -> object:  # noqa: PLR0911  (a type each)
    """Return any value that CBOR can hold, with containers to ``depth``."""
    match rng.randrange(8 if depth else 6):
        case 0:
            return rng.choice(_EDGES)
        case 1:
            return -1 - rng.choice(_EDGES)
        case 2:
            return rng.randbytes(rng.choice((0, 1, 32, 2000)))
        case 3:
            return rng.choice(("", "kind", "block", "tokens", "\0", "é" * 40, "x" * 2000))
        case 4:
            return rng.choice((None, True, False))
        case 5:
            return rng.choice((0.0, -0.0, 1.5, 1e300, float("inf"), float("nan")))
        case 6:
            return [_value(rng, depth - 1) for _ in range(rng.choice((0, 1, 3, 300)))]
    return {str(n): _value(rng, depth - 1) for n in range(rng.choice((0, 1, 3)))}


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next((w for w in range(3) if argument < 1 << (8 << w)), 3)
    return bytes([major << 5 | 24 + width]) + (argument % 2**64).to_bytes(1 << width, "big")


def _float(value: float) -> bytes:
    """Return the shortest form that preserves the value (RFC 8949 §4.2.1)."""
    for letter, head in (("e", b"\xf9"), ("f", b"\xfa")):
        try:
            short = struct.pack(">" + letter, value)
        except OverflowError:
            continue
        if value != value or struct.unpack(">" + letter, short)[0] == value:  # noqa: PLR0124
            return head + short
    return b"\xfb" + struct.pack(">d", value)


def spliced(rng: Random, texts: Sequence[str]) -> str:
    """Shuffle the lines of several texts into one."""
    lines = [line for text in texts for line in text.split("\n")]
    return "\n".join(rng.choice(lines) for _ in range(rng.randint(1, 9)))
