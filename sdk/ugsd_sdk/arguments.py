"""Checks of arguments that several calls take."""

from __future__ import annotations

import os
from pathlib import Path

from ugsd_sdk.errors import ConfigError, WrongType

__all__ = ["path_of", "path_text", "require_callable"]


def path_text(name: str, path: object) -> str | None:
    """Return the text of the argument ``name``, a path or nothing. Raises :class:`WrongType` for
    anything else, and :class:`ConfigError` for empty text, which would be the current folder, and
    for a null character, which no path has."""
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
        raise ConfigError(f"{name} has a null character, which no path has: {text!r}")
    return text


def path_of(name: str, path: object) -> Path:
    """Return the argument ``name`` as a path. Raises as :func:`path_text`, also for ``None``."""
    text = path_text(name, path)
    if text is None:
        raise WrongType(f"{name} must be text or a path, not None")
    return Path(text)


def require_callable(name: str, value: object) -> None:
    """Raise :class:`WrongType` unless the argument ``name`` is ``None`` or may be called."""
    if value is not None and not callable(value):
        raise WrongType(f"{name} must be a function, not {type(value).__name__}")
