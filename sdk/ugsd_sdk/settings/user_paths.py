"""Paths of settings, in which ``~`` stands for the home directory of the operating system's user.

A process in a container often has none: its user id has no entry in the password database, and
``HOME`` is not set.
"""

from __future__ import annotations

import os
from pathlib import Path

from ugsd_sdk.errors import ConfigError, WrongType

__all__ = ["expanded", "path_text"]


def expanded(path: Path, setting: str) -> Path:
    """Return ``path`` with ``~`` replaced by the home directory.

    Raises :class:`ConfigError`, which names the ``setting``, if ``~`` stands for no absolute path.
    """
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


def path_text(name: str, path: object) -> str | None:
    """Return the text of the argument ``name``, a path or nothing. Raises :class:`WrongType` for
    anything else, and :class:`ConfigError` for empty text, which would be the current folder,
    and for text that no path has."""
    if path is None:
        return None
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = b""
    if not isinstance(text, str):
        raise WrongType(f"{name} must be text or a path, not {type(path).__name__}")
    if not text.strip():
        raise ConfigError(f"{name} is empty: give a path, or leave it out")
    if "\0" in text:
        raise ConfigError(f"{name} has a null character: remove it")
    return text
