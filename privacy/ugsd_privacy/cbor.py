"""CBOR of closed schemas: the general encoder and decoder, without what is general about them.

A general decoder builds regular expressions, MIME messages or decimals out of tags that a peer
chose, hashes whatever stands as a key, and goes as deep as the peer likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never

import cbor2

from ugsd_privacy.errors import WireError

__all__ = ["decode_item", "encode_item"]


class _NoTags(Mapping[int, Callable[..., Never]]):
    """In place of the decoder's own meanings of tags: none has any."""

    def __getitem__(self, tag: int) -> Never:
        raise WireError(f"CBOR tag {tag}, which nothing here has")

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1  # an empty one would count as none given


_NO_TAGS = _NoTags()
_STRINGS = (2, 3)
_HOLDING = {4: 1, 5: 2}
"""Major types that hold items, and how many for each that they count (RFC 8949 §3.1)."""


def encode_item(item: object) -> bytes:
    """Deterministic CBOR (RFC 8949 §4.2.1: shortest forms, sorted keys)."""
    return cbor2.dumps(item, canonical=True)


def decode_item(data: bytes, *, max_depth: int, max_items: int | None = None) -> Any:
    """The item that ``data`` begins with; arrays are tuples, the outermost map is a ``dict``, maps
    within it any mappings.

    Raises :class:`WireError` for tags, endless items, keys that are no strings or come twice,
    containers more than ``max_depth`` deep, and, where ``data`` may be long, for more than
    ``max_items`` items in all. Whether ``data`` are the item's deterministic bytes,
    and nothing else, is told by encoding it again.
    """
    if max_items is not None and len(data) > max_items:  # each takes a byte at least
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
        raise WireError(f"no CBOR that is read here: {_cause(error)}") from None
    return dict(item) if isinstance(item, cbor2.frozendict) else item


def _check_count(data: bytes, most: int) -> None:
    """An empty array is one byte in a message and many in memory."""
    at, lacking, count = 0, 1, 0
    while lacking and at < len(data):
        lacking, count = lacking - 1, count + 1
        major, info = data[at] >> 5, data[at] & 0x1F
        width = 1 << info - 24 if 24 <= info <= 27 else 0
        argument = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else info
        at += 1 + width
        if major in _STRINGS:
            at += argument
        elif major in _HOLDING:
            lacking += argument * _HOLDING[major]
        if count + lacking > most:
            raise WireError(f"no CBOR that is read here: more than {most} items")


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)
