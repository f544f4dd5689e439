"""Callbacks for objects when the process is forked.

A child process inherits a copy of every object, but none of the threads that served them, and
shares the sockets and pipes behind them with its parent. An object that holds such resources
registers a method here. The method runs in each child, before anything else and on the child's only
thread. It must neither wait nor write; it closes the child's own descriptors, if needed, and drops
the rest. :func:`call_around_forks` is for code that must also run in the parent before a fork.

A child also inherits the locks of modules that another thread was importing, and would wait for
them forever. :func:`forks_wait` is for work that imports modules.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock, get_ident
from types import MethodType
from typing import Any

__all__ = ["call_around_forks", "call_in_children", "forks_wait", "keep_for_good"]

_FORK_TIMEOUT_S = 10.0
"""How long a fork waits at most."""

_methods: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []
"""Objects, and the function to call on each."""
_lock = Lock()


def call_in_children(method: Callable[[], None]) -> None:
    """Call the bound ``method`` in every process forked from this one, while its object exists."""
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
    """Call ``before`` ahead of every fork from now on, then ``after_in_parent`` in the parent and
    ``after_in_child`` in the child.

    The fork waits for ``before``, so it must be quick. Callbacks cannot be removed again: use this
    only for state of the whole process.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
        )


@contextmanager
def forks_wait() -> Iterator[None]:
    """Let forks by other threads wait, at most ten seconds, until the block has ended."""
    own = get_ident()
    with _importing.changed:
        _importing.threads[own] = _importing.threads.get(own, 0) + 1
    try:
        yield
    finally:
        with _importing.changed:  # in a child, another one than above
            _importing.threads[own] -= 1
            if not _importing.threads[own]:
                del _importing.threads[own]
            _importing.changed.notify_all()


class _Importing:
    """The threads that are inside of :func:`forks_wait`, and how often."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.threads: dict[int, int] = {}

    def wait(self) -> None:
        """Wait until no other thread is; none may begin until the lock is released."""
        self.changed.acquire()
        own = get_ident()
        self.changed.wait_for(lambda: self.threads.keys() <= {own}, _FORK_TIMEOUT_S)


_importing = _Importing()


def _wait_for_imports() -> None:
    _importing.wait()


def _allow_imports() -> None:
    _importing.changed.release()


def _begin_importing() -> None:
    global _importing  # other threads of the parent held the inherited one
    inherited, _importing = _importing, _Importing()
    own = get_ident()
    if own in inherited.threads:  # it forks within the block, which ends in the child as well
        _importing.threads[own] = inherited.threads[own]


def keep_for_good(inherited: object) -> None:
    """Never free ``inherited`` in this child, not even at exit: freeing it may close a database
    that the parent uses, or wait for threads that exist only in the parent."""
    import ctypes  # noqa: PLC0415  # only in children

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _call_all() -> None:
    global _lock  # noqa: PLW0603  # a thread of the parent may have held the inherited lock
    _lock = Lock()
    for weak, function in list(_methods):
        owner = weak()
        if owner is not None:
            function(owner)


call_around_forks(
    before=_wait_for_imports, after_in_parent=_allow_imports, after_in_child=_begin_importing
)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_call_all)
