"""What identifies a recording: its size, and a hash of a bounded number of its blocks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.errors import CheckpointError

__all__ = ["recording_identity"]

_BLOCKS, _BLOCK_BYTES = 64, 1 << 16


def recording_identity(recording: Clip) -> str:
    """Return ``SIZE:SHA256`` of a file, of the bytes of one, or of an array.

    At most 4 MiB are hashed: 64 blocks, spread evenly from the first to the last. Raises
    :class:`CheckpointError` for what cannot be read twice.
    """
    try:
        if isinstance(recording, (str, os.PathLike)):
            return _of_file(Path(recording))
        if isinstance(recording, (bytes, bytearray, memoryview)):
            return _of_bytes(memoryview(recording).cast("B"))
        if isinstance(recording, np.ndarray):
            plain = np.ascontiguousarray(recording)
            return f"{plain.dtype}{plain.shape}:" + _of_bytes(memoryview(plain.data).cast("B"))
    except OSError as error:
        raise CheckpointError(
            f"{os.fspath(recording)!r} cannot be read: {error.strerror}: check the path"  # type: ignore[arg-type]
        ) from error
    raise CheckpointError(
        f"a {type(recording).__name__} has no checkpoint, since it cannot be read again: give a "
        "path, the bytes of a file, or an array"
    )


def _of_file(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"{os.fspath(path)!r} is no file, and has no checkpoint: save it")
    with path.open("rb") as file:
        size, digest = file.seek(0, os.SEEK_END), hashlib.sha256()
        for start in _starts(size):
            file.seek(start)
            digest.update(file.read(_BLOCK_BYTES))
    return f"{size}:{digest.hexdigest()}"


def _of_bytes(data: memoryview) -> str:
    flat, digest = data.cast("B"), hashlib.sha256()
    for start in _starts(len(flat)):
        digest.update(flat[start : start + _BLOCK_BYTES])
    return f"{len(flat)}:{digest.hexdigest()}"


def _starts(size: int) -> list[int]:
    last = max(0, size - _BLOCK_BYTES)
    return sorted({last * index // (_BLOCKS - 1) for index in range(_BLOCKS)})
