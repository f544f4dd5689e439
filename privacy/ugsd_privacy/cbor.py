"""What may reach the general CBOR decoder.

Why before it: a general one builds regular expressions, MIME messages or decimals out of tags that
a peer chose, and recurses as deep as the peer likes.
"""

from __future__ import annotations

from ugsd_privacy.errors import WireError

__all__ = ["check_items"]

_BYTES, _TEXT, _ARRAY, _MAP = 2, 3, 4, 5
_NULL = 0xF6
_FLOATS = (0xF9, 0xFA, 0xFB)


def check_items(data: bytes, *, max_depth: int, floats: bool = False) -> None:
    """Let through one item of integers, strings, null and containers ``max_depth`` deep, and
    ``floats`` where they are meant.

    Linear time, no allocation. Raises :class:`WireError` for anything else (RFC 8949 §3).
    """
    at = 0
    lacking = [1]  # how many items each open container still lacks
    while lacking:
        if lacking[-1] == 0:
            lacking.pop()
            continue
        lacking[-1] -= 1
        if at >= len(data):
            raise WireError("not CBOR: ends early")
        major, argument, at = _read_head(data, at, floats=floats)
        if major in (_BYTES, _TEXT):
            at += argument
        elif major in (_ARRAY, _MAP):
            lacking.append(argument * (2 if major == _MAP else 1))
            if len(lacking) > max_depth + 1:
                raise WireError("nested deeper than any message")
    if at != len(data):
        raise WireError("not one CBOR item")


def _read_head(data: bytes, at: int, *, floats: bool) -> tuple[int, int, int]:
    """Major type, argument and where the content starts (RFC 8949 §3)."""
    head = data[at]
    major, info = head >> 5, head & 0x1F
    if major > _MAP and head != _NULL and not (floats and head in _FLOATS):
        raise WireError("a kind of CBOR item that no message holds")
    if info < 24:
        return major, info, at + 1
    width = 1 << (info - 24)
    if width > 8:
        raise WireError("a length that is indefinite or reserved")
    return major, int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width
