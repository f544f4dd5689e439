"""What identifies a recording: its size, and a hash of all its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.calls.call import checked
from ugsd_sdk.errors import CheckpointError

__all__ = ["recording_identity"]

_BLOCK_BYTES = 1 << 20


def recording_identity(recording: Clip) -> str:
    """Return ``SIZE:SHA256`` of a file, of the bytes of one, or of an array, all of which is read.

    Raises :class:`CheckpointError` for what cannot be read twice, and :class:`CallEnded`.
    """
    try:
        if isinstance(recording, (str, os.PathLike)):
            return _identity(_blocks_of_file(Path(recording)))
        if isinstance(recording, (bytes, bytearray, memoryview)):
            return _identity(_blocks_of(memoryview(recording)))
        if isinstance(recording, np.ndarray):
            plain = np.ascontiguousarray(recording)
            return f"{plain.dtype}{plain.shape}:" + _identity(_blocks_of(memoryview(plain.data)))
    except OSError as error:
        raise CheckpointError(
            f"{os.fspath(recording)!r} cannot be read: {error.strerror}: check the path"  # type: ignore[arg-type]
        ) from error
    raise CheckpointError(
        f"a {type(recording).__name__} has no timeline checkpoint, since it cannot be read again: "
        "give a path, the bytes of a file, or an array"
    )


def _identity(blocks: Iterator[bytes | memoryview]) -> str:
    size, digest = 0, hashlib.sha256()
    for block in checked(blocks):
        size += len(block)
        digest.update(block)
    return f"{size}:{digest.hexdigest()}"


def _blocks_of_file(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise CheckpointError(
            f"{os.fspath(path)!r} is no file, and has no timeline checkpoint: save it"
        )
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _blocks_of(data: memoryview) -> Iterator[memoryview]:
    flat = data.cast("B")
    for at in range(0, len(flat), _BLOCK_BYTES):
        yield flat[at : at + _BLOCK_BYTES]
