"""Reads a folder of tiles from an untrusted source.

It follows no links or pipes, limits how much it reads of a file, and refuses files that are not
part of the log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ugsd_privacy.errors import LogTampered
from ugsd_privacy.files.atomic_files import is_temporary
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.tlog.tiles import (
    HASH_BYTES,
    MAX_ENTRY_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    entry_at,
    width_in,
)

__all__ = ["TileFiles", "placed_files", "read_regular_file"]

_MAX_TILE_BYTES = TILE_WIDTH * HASH_BYTES
_MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
_FOLDER = re.compile(r"tile/(?:[0-7]|entries)(?:/x[0-9]{3}){0,6}(?:/[0-9]{3}\.p)?")
_FILE = re.compile(
    r"tile/(?P<level>[0-7]|entries)/(?P<groups>(?:x[0-9]{3}/){0,6})(?P<last>[0-9]{3})"
    r"(?:\.p/(?P<width>[0-9]{1,3}))?"
)


class TileFiles:
    """The files of a folder that should hold a log of ``size`` leaves."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size

    def bundle(self, tile: Tile) -> bytes:
        """Read the entry bundle beside a tile of level 0. Raises :class:`LogTampered`."""
        return read_regular_file(self._folder / tile.entries_path, _MAX_BUNDLE_BYTES)

    def hashes(self, tile: Tile) -> list[bytes]:
        """Read the hashes of a tile. Raises :class:`LogTampered`."""
        data = read_regular_file(self._folder / tile.path, _MAX_TILE_BYTES)
        if len(data) != tile.width * HASH_BYTES:
            first = tile.start << (TILE_HEIGHT * tile.level)
            raise self.tampered(tile.path, f"{len(data)} bytes are not {tile.width} hashes", first)
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]

    def smaller(self) -> Iterator[tuple[str, Tile]]:
        """Yield path and tile of partial files of a smaller tree, which may remain."""
        if not self._size and not (self._folder / "tile").exists():
            return
        for path, tile in placed_files(self._folder, self._size):
            if tile.width < width_in(self._size, tile.level, tile.index):
                yield path, tile

    def check_smaller(self, path: str, tile: Tile) -> None:
        """Raise :class:`LogTampered` unless a partial file is the beginning of the whole tree's."""
        whole = replace(tile, width=width_in(self._size, tile.level, tile.index))
        if path == tile.path:
            same = self.hashes(tile) == self.hashes(whole)[: tile.width]
        else:
            data, at = self.bundle(whole), 0
            for _ in range(tile.width):
                _, at = entry_at(data, at)
            same = self.bundle(tile) == data[:at]
        if not same:
            raise self.tampered(path, "it does not match the log as it is now", None)

    def tampered(self, path: str, problem: str, leaf: int | None) -> LogTampered:
        """Return the error for a problem with a file."""
        return LogTampered(f"{self._folder / path}: {problem}", index=leaf)


def placed_files(folder: Path, size: int) -> Iterator[tuple[str, Tile]]:
    """Yield path and tile of each file below ``folder/tile``; for a bundle, the tile beside it.

    Raises :class:`LogTampered` for a path that a log of ``size`` leaves does not have, and did not
    have when it was smaller. Drafts that a crash left behind are skipped.
    """
    if (folder / "tile").is_symlink():
        raise LogTampered(f"{folder / 'tile'} is a link; replace it with the folder itself")
    pending = ["tile"]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(folder / place) as found:
                for entry in found:
                    path = f"{place}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False) and _FOLDER.fullmatch(path):
                        pending.append(path)
                        continue
                    is_file = entry.is_file(follow_symlinks=False)
                    if is_file and is_temporary(entry.name):
                        continue
                    tile = _tile_at(path) if is_file else None
                    if tile is None or tile.width > width_in(size, tile.level, tile.index):
                        raise LogTampered(
                            f"{folder}: {path!r} is not part of a log of {size} leaves: it was "
                            "added, or an interrupted export left it; export again, or delete it"
                        )
                    yield path, tile
        except OSError as error:
            raise LogTampered(f"cannot read {folder / place}: {error.strerror}") from None


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that is not a link or pipe. Raises :class:`LogTampered`."""
    try:
        return read_regular(path, max_bytes, follow_links=False)
    except OSError as error:
        raise LogTampered(f"cannot read {path}: {error.strerror}") from None


def _tile_at(path: str) -> Tile | None:
    parts = _FILE.fullmatch(path)
    if parts is None:
        return None
    is_bundle = parts["level"] == "entries"
    index = int(parts["groups"].replace("x", "").replace("/", "") + parts["last"])
    tile = Tile(0 if is_bundle else int(parts["level"]), index, int(parts["width"] or TILE_WIDTH))
    canonical = tile.entries_path if is_bundle else tile.path
    return tile if path == canonical and tile.width else None
