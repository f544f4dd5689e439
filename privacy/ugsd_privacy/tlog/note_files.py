"""Signed notes in files."""

from __future__ import annotations

from pathlib import Path

from ugsd_privacy.errors import LogTampered
from ugsd_privacy.files.atomic_files import read_bounded

__all__ = ["MAX_NOTE_BYTES", "read_note"]

MAX_NOTE_BYTES = 65_536


def read_note(path: Path, *, ours: bool = False) -> str:
    """Read a note without verifying it. Raises as :func:`read_bounded`."""
    try:
        return read_bounded(path, MAX_NOTE_BYTES, ours=ours).decode()
    except UnicodeDecodeError:
        raise LogTampered(f"{path} is not a signed note") from None
