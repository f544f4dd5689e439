"""Paths of settings, in which ``~`` stands for the home directory of the operating system's user.

A process in a container often has none: its user id has no entry in the password database, and
``HOME`` is not set.
"""

from __future__ import annotations

import os
from pathlib import Path

from ugsd_sdk.errors import ConfigError

__all__ = ["expanded"]


def expanded(path: Path, setting: str) -> Path:
    """Return ``path`` with ``~`` replaced by the home directory.

    Raises :class:`ConfigError`, which names the ``setting``, if ``~`` stands for no absolute path,
    and for a null character.
    """
    if "\0" in str(path):
        raise ConfigError(f"setting {setting}: {str(path)!r} has a null character")
    if not str(path).startswith("~"):
        return path
    try:
        found = path.expanduser()
    except RuntimeError:
        found = path
    if not found.is_absolute() or os.environ.get("HOME") == "":
        variable = f"UGSD_{setting.upper().replace('.', '__')}"
        raise ConfigError(
            f"setting {setting}: {path}: this process has no home directory: set HOME, or "
            f"set {setting} ({variable}) to an absolute path"
        )
    return found
