"""The registry of this process' open ledger handles, which also handles forks."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from time import monotonic
from weakref import WeakValueDictionary

from ugsd_privacy.files.reserved_files import FileId
from ugsd_privacy.forks import call_around_forks
from ugsd_privacy.ledger.database import Database, held, slices
from ugsd_privacy.ledger.files import prepare_files
from ugsd_privacy.slots import Slots

__all__ = ["open_database"]

_FORK_TIMEOUT_S = 0.5
"""How long a fork waits for transactions and readers of other threads."""


def open_database(path: Path, timeout_s: float, *, create: bool) -> Database:
    """Return the process' handle on the ledger at ``path``, and count one more user of it.

    Waits at most ``timeout_s``. Raises :class:`LedgerUnavailable`, or :class:`LedgerCorrupt`, also
    if the ledger is missing or empty and ``create`` is false.
    """
    return _REGISTRY.open(path, timeout_s, create=create)


class _Registry:
    """The handles of this process, by path and file identity."""

    def __init__(self) -> None:
        self._turn = Slots()
        self._fork = Lock()
        """Holds the turn during a fork."""
        self._fork.acquire()
        self._open: WeakValueDictionary[tuple[Path, FileId], Database] = WeakValueDictionary()
        self._is_watching = False
        self._forking = Lock()
        """Held by a thread that forks: the next two fields belong to one fork at a time."""
        self._paused: list[Database] = []
        self._is_held = False

    def open(self, path: Path, timeout_s: float, *, create: bool) -> Database:
        ends_s = monotonic() + timeout_s
        with (holder := Lock()), held(self._turn, holder, timeout_s):
            self._watch_forks()
            path = path.parent.resolve() / path.name
            file = prepare_files(path, create=create)
            database = self._open.get((path, file))
            if database is None or not database.is_in_place():
                self._refuse_inherited(file)
                database = self._open[path, file] = Database(path, file)
            database.acquire(max(ends_s - monotonic(), 0), create=create)
            return database

    def _refuse_inherited(self, file: FileId) -> None:
        """Refuse a file that the parent has open: SQLite identifies files by inode, so a new
        connection would share the parent's locks."""
        for (_, known), database in self._open.items():
            if known == file:
                database.require_own()

    def _watch_forks(self) -> None:
        if self._is_watching:
            return
        self._is_watching = True
        call_around_forks(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._after_fork_in_child,
        )

    def _before_fork(self) -> None:
        self._forking.acquire()
        ends_s = monotonic() + _FORK_TIMEOUT_S
        self._is_held = self._turn.acquire(self._fork, slices(_FORK_TIMEOUT_S))
        self._paused = [each for each in list(self._open.values()) if each.pause(ends_s)]

    def _after_fork(self) -> None:
        paused, self._paused = self._paused, []
        for database in paused:
            database.resume()
        is_held, self._is_held = self._is_held, False
        if is_held:
            self._turn.release(self._fork)
        if self._forking.locked():  # else the first ledger was opened during this fork
            self._forking.release()

    def _after_fork_in_child(self) -> None:
        paused, self._paused = self._paused, []
        self._turn, self._is_held = Slots(), False  # threads of the parent wait in the other one
        for database in list(self._open.values()):
            if any(database is each for each in paused):
                database.begin_in_child()
            else:
                database.inherit()
        self._after_fork()


_REGISTRY = _Registry()
