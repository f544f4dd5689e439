"""Publishes the log in a folder for any static file server: C2SP tlog-tiles and tlog-checkpoint.

Only new files are written, atomically, tiles first and the checkpoint last, so that the folder
always has a complete log, also after a crash. Only one export at a time may write to the folder, so
its checkpoint never goes back. A written file never changes; a partial tile is deleted once the
full one exists. Bodies are not published.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ugsd_privacy.errors import ExportFailed, LogTampered
from ugsd_privacy.files.atomic_files import exclusive_folder, write_atomically
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.ledger import LedgerView
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint
from ugsd_privacy.tlog.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    leaf_hash,
    verify_consistency,
)
from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
from ugsd_privacy.tlog.tile_files import placed_files, read_regular_file
from ugsd_privacy.tlog.tiles import (
    Tile,
    bundle_bytes,
    check_tile,
    edge_tiles,
    new_tiles,
    tile_hashes,
)

__all__ = ["CHECKPOINT_FILE", "Published", "check_contents", "publish_tiles"]

CHECKPOINT_FILE = "checkpoint"
_LOCK_TIMEOUT_S = 10.0
"""How long an export waits for another one to the same folder."""


@dataclass(frozen=True, slots=True)
class Published:
    """The checkpoint that a folder has now, and how many files were written."""

    checkpoint: Checkpoint
    files: int


def publish_tiles(view: LedgerView, note: str, public: LogPublicKey, folder: Path) -> Published:
    """Update ``folder`` to the state signed by ``note``, a checkpoint of ``view``'s log.

    The hashes are those stored in the ledger, checked against the leaves below and the root above.
    Raises :class:`LogTampered` if they differ, or if ``folder`` has another log or more of this
    one; then its checkpoint is unchanged. Raises :class:`ExportFailed` if the folder cannot be
    written, or another export locks it for more than ten seconds.
    """
    with exclusive_folder(folder, _LOCK_TIMEOUT_S):
        return _publish(view, note, public, folder)


def _publish(view: LedgerView, note: str, public: LogPublicKey, folder: Path) -> Published:
    signed, old = open_checkpoint(note, public), _published(folder, public)
    if old.size > signed.size:
        if view.size() >= old.size and view.root(old.size) == old.root:
            raise ExportFailed(
                f"{folder} already has {old.size} leaves from another export; export again"
            )
        raise LogTampered(
            f"{folder} has {old.size} leaves of this log, but the ledger {signed.size}: it was "
            "rolled back, or another export has just written there; then export again",
            index=signed.size,
        )
    if view.size() < signed.size or view.root(signed.size) != signed.root:
        raise LogTampered("the checkpoint does not match this ledger")
    proof = consistency_proof(old.size, signed.size, view.node) if old.size else []
    verify_consistency(old.size, signed.size, old.root, signed.root, proof)
    files = 0
    if not old.size and (folder / "tile").exists():  # an interrupted export, or a lost checkpoint
        for _ in placed_files(folder, signed.size):
            pass
    for tile in chain(edge_tiles(old.size), new_tiles(old.size, signed.size)):
        hashes = tile_hashes(tile, view.nodes)
        check_tile(tile, hashes, view.node)
        if tile.level == 0:
            contents = [content for content, _ in view.leaves(*_span(tile))]
            check_contents(contents, hashes, tile.start)
            files += _write_once(folder, tile.entries_path, bundle_bytes(contents))
        files += _write_once(folder, tile.path, b"".join(hashes))
    if _published(folder, public) != old:  # possible if the system has no locks
        raise ExportFailed(f"another export has written to {folder}; export again")
    write_atomically(folder / CHECKPOINT_FILE, note.encode())
    _drop_partial(folder, old.size, signed.size)
    return Published(signed, files)


def check_contents(contents: Sequence[bytes], hashes: Sequence[bytes], start: int) -> None:
    """Raise :class:`LogTampered` unless ``hashes`` are those of the leaves from ``start`` on."""
    for index, (content, stored) in enumerate(zip(contents, hashes, strict=True), start):
        if leaf_hash(content) != stored:
            raise LogTampered(f"leaf {index} does not match its hash in the tree", index=index)


def _published(folder: Path, public: LogPublicKey) -> Checkpoint:
    """Return the checkpoint that the folder has already."""
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return Checkpoint(public.origin, 0, EMPTY_ROOT)
    try:
        return open_checkpoint(read_regular_file(path, MAX_NOTE_BYTES).decode(), public)
    except (LogTampered, UnicodeDecodeError) as error:
        raise LogTampered(f"{path} is not from this log ({error}); use another folder") from None


def _span(tile: Tile) -> tuple[int, int]:
    return tile.start, tile.start + tile.width


def _write_once(folder: Path, name: str, data: bytes) -> int:
    """Write a file unless an interrupted export has written it; return how many were written."""
    path = folder / name
    for parent in path.parents[: name.count("/")]:
        if parent.is_symlink():
            raise LogTampered(f"{parent} is a link; use another folder")
    if path.exists():
        if read_regular_file(path, len(data)) != data:
            raise LogTampered(f"{path} has other content; use another folder")
        return 0
    write_atomically(path, data)
    return 1


def _drop_partial(folder: Path, old: int, new: int) -> None:
    """Delete partial files of tiles that are full now, as tlog-tiles allows."""
    for tile in new_tiles(old, new):
        if tile.is_full:
            for path in (tile.path, tile.entries_path) if tile.level == 0 else (tile.path,):
                shutil.rmtree(folder / f"{path}.p", ignore_errors=True)
