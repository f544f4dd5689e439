"""Files that commands write: none that is an input, and none that exists unless it was said so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import typer

__all__ = ["is_one_of", "require_new"]


def is_one_of(path: Path, others: Iterable[str | Path]) -> bool:
    """Whether ``path`` is the same file as one of ``others``, also by another name."""
    real = os.path.realpath(path)
    return any(real == os.path.realpath(other) or _is_same(path, other) for other in others)


def require_new(path: Path, *, force: bool) -> None:
    """Raise :class:`typer.BadParameter` for a folder, and for what exists unless ``force``."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file")
    if not force and os.path.lexists(path):
        raise typer.BadParameter(f"{path} exists: name another file, or add --force to replace it")


def _is_same(path: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(path, other)  # noqa: PTH121  # of text too
    except (OSError, ValueError):
        return False
