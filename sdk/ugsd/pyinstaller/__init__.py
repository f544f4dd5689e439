"""Tells PyInstaller, by the entry point ``pyinstaller40``, which files and modules an app needs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Return the folder of the hooks."""
    return [str(Path(__file__).parent)]
