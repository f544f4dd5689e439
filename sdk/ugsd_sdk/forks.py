"""What objects do when the process is forked.

A child process inherits a copy of every object, but none of the threads that served them, and
shares the sockets and pipes behind them with its parent. An object that holds such things registers
a method here. The method runs in each child, before anything else does there, on the only thread
that the child has. It must neither wait nor write; it closes the child's own descriptors, if that
is needed, and forgets the rest.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

__all__ = ["call_in_children", "keep_for_good"]

_methods: dict[int, WeakMethod[Any]] = {}
_numbers = itertools.count()


def call_in_children(method: Callable[[], None]) -> None:
    """Call the bound ``method`` in every process that is forked from this one, as long as the
    object that it belongs to exists."""
    number = next(_numbers)
    _methods[number] = WeakMethod(method, lambda _: _methods.pop(number, None))


def keep_for_good(inherited: object) -> None:
    """Keep what a child inherited from being freed in it, also when the interpreter ends: freeing
    may close a database that the parent uses, or wait for threads that exist only there."""
    import ctypes  # noqa: PLC0415  # only in children

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _call_all() -> None:
    for weak in list(_methods.values()):
        method = weak()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_call_all)
