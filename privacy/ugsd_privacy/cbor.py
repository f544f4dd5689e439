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


def encode_item(item: object) -> bytes:
    """Deterministic CBOR (RFC 8949 §4.2.1: shortest forms, sorted keys)."""
    return cbor2.dumps(item, canonical=True)


def decode_item(data: bytes, *, max_depth: int) -> Any:
    """The item that ``data`` begins with; arrays are tuples, the outermost map is a ``dict``, maps
    within it any mappings.

    Raises :class:`WireError` for tags, endless items, keys that are no strings or come twice, and
    containers more than ``max_depth`` deep. Whether ``data`` are the item's deterministic bytes,
    and nothing else, is told by encoding it again.
    """
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


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)
