"""Files that are there whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ugsd_privacy.errors import ExportFailed, LogTampered
from ugsd_privacy.key_files import sync_directory

__all__ = ["MAX_NOTE_BYTES", "read_bytes", "read_note", "replacing", "write_whole"]

MAX_NOTE_BYTES = 65_536


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` at the end, unless something is raised.

    Its folder is made where need be. Raises :class:`ExportFailed` where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise ExportFailed(f"cannot write {path}: {error.strerror}") from error


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``path`` in place of what it held. Raises as :func:`replacing`."""
    with replacing(path, mode=mode) as file:
        file.write(data)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of ``path``. Raises :class:`LogTampered` for a file that is missing or larger."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise LogTampered(f"cannot read {path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise LogTampered(f"{path} is larger than {max_bytes} bytes")
    return data


def read_note(path: Path) -> str:
    """A note in a file, unverified. Raises :class:`LogTampered`."""
    try:
        return read_bytes(path, MAX_NOTE_BYTES).decode()
    except UnicodeDecodeError:
        raise LogTampered(f"{path} is not a signed note") from None
