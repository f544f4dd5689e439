"""C2SP tlog-tiles of a tree and its leaves, as pure functions.

A tile of level L holds up to 256 consecutive hashes of full subtrees of 256**L leaves; an entry
bundle holds the contents of the leaves of a tile of level 0, each after its length as big-endian
uint16. Paths are C2SP's, ``tile/<L>/<N>[.p/<W>]``, without the height, unlike those of Go's
``tlog.Tile.Path`` (``tile/8/<L>/<N>``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ugsd_privacy.errors import LogTampered
from ugsd_privacy.tlog.merkle import NodeReader, frontier_positions, node_hash

__all__ = [
    "HASH_BYTES",
    "MAX_ENTRY_BYTES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "NodesReader",
    "Tile",
    "bundle_bytes",
    "check_tile",
    "edge_tiles",
    "entries",
    "entry_at",
    "new_tiles",
    "subtree_root",
    "tile_hashes",
    "width_in",
]

HASH_BYTES = 32
MAX_ENTRY_BYTES = 0xFFFF
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
_LENGTH_BYTES = 2
_DIGITS = 1000

NodesReader = Callable[[int, int, int], list[bytes]]
"""``nodes(level, start, stop)`` reads the hashes of consecutive full subtrees of a level."""


@dataclass(frozen=True, slots=True)
class Tile:
    """``width`` hashes of ``level``, starting with hash ``index * 256``."""

    level: int
    """0 to 7 for any log that fits in an SQLite file."""
    index: int
    width: int
    """1 to 256; less than 256 only at the right edge of a tree."""

    @property
    def start(self) -> int:
        """The index of the first hash within the level."""
        return self.index * TILE_WIDTH

    @property
    def is_full(self) -> bool:
        return self.width == TILE_WIDTH

    @property
    def path(self) -> str:
        """The tile's path below the log's prefix."""
        return f"tile/{self.level}/{self._place}"

    @property
    def entries_path(self) -> str:
        """The path of the entry bundle beside a tile of level 0."""
        return f"tile/entries/{self._place}"

    @property
    def _place(self) -> str:
        rest, last = divmod(self.index, _DIGITS)
        parts = [f"{last:03}"]
        while rest:
            rest, digits = divmod(rest, _DIGITS)
            parts.append(f"x{digits:03}")
        partial = "" if self.is_full else f".p/{self.width}"
        return "/".join(reversed(parts)) + partial


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """Yield the tiles of a tree of ``new`` leaves that the smaller one of ``old`` leaves lacks."""
    level = 0
    while new >> (TILE_HEIGHT * level):
        before, after = old >> (TILE_HEIGHT * level), new >> (TILE_HEIGHT * level)
        first, partial = before >> TILE_HEIGHT, after >> TILE_HEIGHT
        for index in range(first, partial):
            yield Tile(level, index, TILE_WIDTH)
        width = after % TILE_WIDTH
        if width and after != before:
            yield Tile(level, partial, width)
        level += 1


def edge_tiles(size: int) -> Iterator[Tile]:
    """Yield the partial tiles of a tree of ``size`` leaves, at most one per level."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        if width:
            yield Tile(level, index, width)
        level += 1


def width_in(size: int, level: int, index: int) -> int:
    """Return the width of a tile in a tree of ``size`` leaves; 0 if the tree does not have it."""
    return min(TILE_WIDTH, max(0, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def tile_hashes(tile: Tile, nodes: NodesReader) -> list[bytes]:
    """Read the hashes of a tile; concatenated, they are its content."""
    return nodes(TILE_HEIGHT * tile.level, tile.start, tile.start + tile.width)


def check_tile(tile: Tile, hashes: Sequence[bytes], node: NodeReader) -> None:
    """Raise :class:`LogTampered` unless the nodes above a tile match its hashes.

    That is one node above a full tile, and several nodes of the tree's frontier above a partial
    one.
    """
    at = 0
    for level, _ in frontier_positions(tile.width):
        width = 1 << level
        above = TILE_HEIGHT * tile.level + level
        if subtree_root(hashes[at : at + width]) != node(above, (tile.start + at) >> level):
            first = (tile.start + at) << (TILE_HEIGHT * tile.level)
            raise LogTampered(f"the node over leaf {first} differs from those below", index=first)
        at += width


def bundle_bytes(contents: Sequence[bytes]) -> bytes:
    """Return the entry bundle of up to 256 leaves. Raises :class:`LogTampered` for a leaf that is
    too long; ours never are."""
    for content in contents:
        if len(content) > MAX_ENTRY_BYTES:
            raise LogTampered("a leaf is too long for a bundle")
    return b"".join(
        part
        for content in contents
        for part in (len(content).to_bytes(_LENGTH_BYTES, "big"), content)
    )


def entry_at(bundle: bytes, at: int) -> tuple[bytes, int]:
    """Return the entry at byte offset ``at``, and the offset of the next one.

    Raises :class:`LogTampered` if the bundle is truncated.
    """
    start = at + _LENGTH_BYTES
    stop = start + int.from_bytes(bundle[at:start], "big")
    if stop > len(bundle):
        raise LogTampered("the entry bundle is truncated")
    return bundle[start:stop], stop


def entries(bundle: bytes) -> list[bytes]:
    """Return the contents of the leaves in an entry bundle. Raises :class:`LogTampered`."""
    found, at = list[bytes](), 0
    while at < len(bundle):
        content, at = entry_at(bundle, at)
        found.append(content)
    return found


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over ``hashes``, whose number is a power of two."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
    return row[0]
