"""Strict, deterministic CBOR for closed schemas.

A general decoder builds regular expressions, MIME messages or decimals from tags that a peer
chooses, hashes whatever is used as a key, and nests as deep as the peer likes. This one refuses
all of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never

import cbor2

from ugsd_privacy.errors import WireError

__all__ = ["decode_item", "encode_item"]


class _NoTags(Mapping[int, Callable[..., Never]]):
    """A table of tag decoders that refuses every tag."""

    def __getitem__(self, tag: int) -> Never:
        raise WireError(f"CBOR tag {tag} is not allowed")

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1  # the decoder would ignore an empty table


_NO_TAGS = _NoTags()
_STRINGS = (2, 3)
_ITEMS_PER_COUNT = {4: 1, 5: 2}
"""Items per counted element of an array (4) and of a map (5), RFC 8949 §3.1."""


def encode_item(item: object) -> bytes:
    """Encode ``item`` as deterministic CBOR (RFC 8949 §4.2.1: shortest forms, sorted keys)."""
    return cbor2.dumps(item, canonical=True)


def decode_item(data: bytes, *, max_depth: int, max_items: int | None = None) -> Any:
    """Decode the item that ``data`` begins with. Arrays become tuples, the outermost map a
    ``dict``, and maps within it some mapping.

    Raises :class:`WireError` for tags, items of indefinite length, keys that are not strings or are
    repeated, containers nested deeper than ``max_depth``, and, if ``max_items`` is given, for more
    items than that in total. To check that ``data`` is the item's deterministic encoding and
    nothing more, the caller encodes the item again and compares.
    """
    if max_items is not None and len(data) > max_items:  # each item takes at least one byte
        _check_count(data, max_items)
    try:
        item = cbor2.loads(
            data,
            semantic_decoders=_NO_TAGS,
            max_depth=max_depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            immutable=True,  # makes tuples
        )
    except Exception as error:
        raise WireError(f"not valid strict CBOR: {_cause(error)}") from None
    return dict(item) if isinstance(item, cbor2.frozendict) else item


def _check_count(data: bytes, most: int) -> None:
    """Count items before decoding: an empty array is one byte in a message, but many in memory."""
    at, expected, count = 0, 1, 0
    while expected and at < len(data):
        expected, count = expected - 1, count + 1
        major, info = data[at] >> 5, data[at] & 0x1F
        width = 1 << info - 24 if 24 <= info <= 27 else 0
        argument = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else info
        at += 1 + width
        if major in _STRINGS:
            at += argument
        elif major in _ITEMS_PER_COUNT:
            expected += argument * _ITEMS_PER_COUNT[major]
        if count + expected > most:
            raise WireError(f"not valid strict CBOR: more than {most} items")


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)
