"""Verification of a folder of tiles: it checks every file, and needs no device.

The tree is recomputed from the entry bundles and compared with each tile. If they differ, the hash
above shows which of them is wrong: that of the next level, or at the right edge the signed root.
One tile of each level is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ugsd_privacy.audit.export import RunningTotals, check_longest, check_roots
from ugsd_privacy.audit.publishing import CHECKPOINT_FILE
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.keys.witness import WitnessPublicKey
from ugsd_privacy.tlog.checkpoint import (
    Checkpoint,
    note_origin,
    note_signatures,
    open_checkpoint,
    parse_checkpoint,
)
from ugsd_privacy.tlog.cosignature import verify_cosigned
from ugsd_privacy.tlog.merkle import frontier_positions, frontier_root, leaf_hash
from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
from ugsd_privacy.tlog.tile_files import TileFiles, read_regular_file
from ugsd_privacy.tlog.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    edge_tiles,
    entry_at,
    subtree_root,
    width_in,
)

__all__ = ["TilesSummary", "verify_tiles"]


@dataclass(frozen=True, slots=True)
class TilesSummary:
    """The content of a verified folder."""

    public: LogPublicKey | None
    """The key that verifies it, if one was given; the folder has no key."""
    origin: str
    """The log's name according to its checkpoint."""
    size: int
    root: bytes
    blocks: int
    tokens: int
    frame_bytes: int
    checkpoints: int
    """How many were verified, including trusted ones."""
    witnessed: Mapping[str, tuple[int, int]]
    """By each witness's name, the size it cosigned last and when, as Unix time by its clock."""
    checkpoint: str
    """The folder's note."""


def verify_tiles(
    folder: Path,
    public: LogPublicKey | None = None,
    *,
    trusted: Iterable[str] = (),
    witnesses: Iterable[WitnessPublicKey] = (),
) -> TilesSummary:
    """Recompute the tree and the sums of a folder by ``publish_tiles``, and check every file.

    Without ``public`` the log's signatures are not verified; that proves only that the folder is
    intact. ``trusted`` are checkpoints from elsewhere that the log must extend; each of
    ``witnesses`` must have cosigned one of all these checkpoints. Raises :class:`LogTampered`,
    which names the file, with the first leaf that is wrong, or may be, as its index. Takes time
    linear in the log.
    """
    path = folder / CHECKPOINT_FILE
    try:
        note = read_regular_file(path, MAX_NOTE_BYTES).decode()
        opened = _opener(public, note_origin(note))
        signed = opened(note)
    except UnicodeDecodeError:
        raise LogTampered(f"{path} is not a signed note") from None
    except LogTampered as error:
        raise LogTampered(f"{path}: {error}") from None
    notes = [note, *trusted]
    checkpoints = [opened(other) for other in notes]
    files = TileFiles(folder, signed.size)
    for _ in files.smaller():
        pass  # raises for files that do not belong here
    sums = _TreeReader(files, signed, checkpoints).sums()
    for bundle_or_tile in files.smaller():
        files.check_smaller(*bundle_or_tile)
    return TilesSummary(
        public=public,
        origin=signed.origin,
        size=sums.size,
        root=sums.root,
        blocks=sums.blocks,
        tokens=sums.tokens,
        frame_bytes=sums.frame_bytes,
        checkpoints=len(set(notes)),
        witnessed=verify_cosigned(notes, witnesses, opened),
        checkpoint=note,
    )


def _opener(public: LogPublicKey | None, origin: str) -> Callable[[str], Checkpoint]:
    if public is None:
        return lambda note: parse_checkpoint(note_signatures(note)[0], origin)
    return lambda note: open_checkpoint(note, public)


class _TreeReader:
    """Reads a log from its files, from the first leaf to the last, and recomputes its tree."""

    def __init__(
        self, files: TileFiles, signed: Checkpoint, checkpoints: Sequence[Checkpoint]
    ) -> None:
        self._files = files
        self._signed = signed
        self._checkpoints = checkpoints
        self._sums = RunningTotals()
        self._rows: list[list[bytes]] = [[]]
        """For each level, the recomputed hashes that do not fill a tile yet."""

    def sums(self) -> RunningTotals:
        """Read all of it."""
        check_roots(self._checkpoints, self._sums)
        for index in range(self._signed.size // TILE_WIDTH):
            tile = Tile(0, index, TILE_WIDTH)
            contents = self._leaves(tile)
            self._close(tile)
            self._count(contents)
        edge = list(edge_tiles(self._signed.size))
        last = self._leaves(edge[0]) if edge and edge[0].level == 0 else []
        for tile in edge:
            self._check(tile, self._rows[tile.level])
        self._count(last)
        check_longest(self._checkpoints, self._sums)
        return self._sums

    def _leaves(self, tile: Tile) -> list[bytes]:
        """Read a bundle, put its leaf hashes in row 0, and return its contents."""
        bundle = self._files.bundle(tile)
        contents, at = list[bytes](), 0
        try:
            while len(contents) < tile.width:
                content, at = entry_at(bundle, at)
                contents.append(content)
        except LogTampered as error:
            leaf = self._first_difference(contents, tile)
            raise self._files.tampered(
                tile.entries_path, f"{error}, from leaf {leaf} on", leaf
            ) from None
        if at != len(bundle):
            stop = tile.start + tile.width
            raise self._files.tampered(tile.entries_path, "it has data after its last leaf", stop)
        self._rows[0] = [leaf_hash(content) for content in contents]
        return contents

    def _first_difference(self, contents: Sequence[bytes], tile: Tile) -> int:
        for leaf, (content, stored) in enumerate(
            zip(contents, self._files.hashes(tile), strict=False), tile.start
        ):
            if leaf_hash(content) != stored:
                return leaf
        return tile.start + len(contents)

    def _count(self, contents: Sequence[bytes]) -> None:
        for content in contents:
            self._sums.add(content)
            check_roots(self._checkpoints, self._sums)

    def _close(self, tile: Tile) -> None:
        """Check the tile of a full row, and add the row's hash to the row above."""
        row = self._rows[tile.level]
        self._check(tile, row)
        if tile.level + 1 == len(self._rows):
            self._rows.append([])
        above = self._rows[tile.level + 1]
        above.append(subtree_root(row))
        self._rows[tile.level] = []
        if len(above) == TILE_WIDTH:
            self._close(Tile(tile.level + 1, tile.index // TILE_WIDTH, TILE_WIDTH))

    def _check(self, tile: Tile, row: Sequence[bytes]) -> None:
        stored = self._files.hashes(tile)
        if stored == row:
            return
        at = next(at for at in range(tile.width) if stored[at] != row[at])
        leaf = (tile.start + at) << (TILE_HEIGHT * tile.level)
        below = Tile(tile.level - 1, tile.start + at, TILE_WIDTH).path
        below = below if tile.level else tile.entries_path
        if self._fits(tile, row):
            raise self._files.tampered(
                tile.path, f"hash {at} does not match the data below it, leaf {leaf}", leaf
            )
        if self._fits(tile, stored):
            raise self._files.tampered(below, f"leaf {leaf} does not match the tree", leaf)
        raise self._files.tampered(tile.path, f"it and {below} differ from leaf {leaf} on", leaf)

    def _fits(self, tile: Tile, row: Sequence[bytes]) -> bool:
        """Return whether these hashes of a tile match the hash above it."""
        if tile.is_full:
            index, at = divmod(tile.index, TILE_WIDTH)
            width = width_in(self._signed.size, tile.level + 1, index)
            try:
                above = self._files.hashes(Tile(tile.level + 1, index, width))
            except LogTampered:
                return False
            return above[at] == subtree_root(row)
        rows = [*self._rows[: tile.level], row, *self._rows[tile.level + 1 :]]
        return frontier_root(_frontier(rows)) == self._signed.root


def _frontier(rows: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the frontier of the tree whose levels end in these hashes."""
    found = []
    for row in reversed(rows):
        at = 0
        for level, _ in frontier_positions(len(row)):
            found.append(subtree_root(row[at : at + (1 << level)]))
            at += 1 << level
    return found
