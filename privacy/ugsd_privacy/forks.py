"""What objects do when the process is forked: the one place that is called at a fork.

A child process inherits a copy of every object, but none of the threads that served them, and
shares the sockets and pipes behind them with its parent. An object that holds such things registers
a method here. The method runs in each child, before anything else does there, on the only thread
that the child has. It must neither wait nor write; it closes the child's own descriptors, if that
is needed, and forgets the rest. What must be put in order before a fork, on the parent's side
of it, says so by :func:`call_around_forks`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from threading import Lock
from types import MethodType
from typing import Any

__all__ = ["call_around_forks", "call_in_children", "keep_for_good"]

_methods: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []
"""Objects, and which function of theirs to call."""
_lock = Lock()


def call_in_children(method: Callable[[], None]) -> None:
    """Call the bound ``method`` in every process that is forked from this one, as long as the
    object that it belongs to exists."""
    assert isinstance(method, MethodType)  # noqa: S101
    with _lock:
        _methods[:] = [known for known in _methods if known[0]() is not None]
        _methods.append((weakref.ref(method.__self__), method.__func__))


def call_around_forks(
    *,
    before: Callable[[], None],
    after_in_parent: Callable[[], None],
    after_in_child: Callable[[], None],
) -> None:
    """Call ``before`` in every process that is about to fork, from now on and for good; then
    ``after_in_parent`` there, and ``after_in_child`` in the child. ``before`` may wait for a short
    time, since the fork waits for it. This is for what serves the process as a whole."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
        )


def keep_for_good(inherited: object) -> None:
    """Keep what a child inherited from being freed in it, also when the interpreter ends: freeing
    may close a database that the parent uses, or wait for threads that exist only there."""
    import ctypes  # noqa: PLC0415  # only in children

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _call_all() -> None:
    global _lock  # noqa: PLW0603  # a thread of the parent may have held the other one
    _lock = Lock()
    for weak, function in list(_methods):
        owner = weak()
        if owner is not None:
            function(owner)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_call_all)
