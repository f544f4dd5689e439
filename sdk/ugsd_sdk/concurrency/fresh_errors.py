"""Copies of an error, so that each caller raises a separate instance."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["fresh"]

_Error = TypeVar("_Error", bound=Exception)


def fresh(error: _Error) -> _Error:
    """Return a copy of ``error`` to raise, without its traceback.

    One instance that is raised repeatedly would collect the tracebacks of all callers, keep their
    frames alive, and mix those of several threads.
    """
    kind = type(error)
    new = kind.__new__(kind, *error.args)
    new.args = error.args
    new.__dict__.update(error.__dict__)
    new.__cause__ = error.__cause__
    return new
