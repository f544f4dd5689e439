"""Holders of our locks: a stopped process, or a thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["Hold", "hold", "in_another_thread"]

Hold = Callable[[str, Path], Callable[[], None]]
"""Takes the kind of the lock and its file, and returns a function that ends the holder."""

_HOLDER = """
import fcntl, os, sqlite3, sys, time
kind, path = sys.argv[1:]
if kind == "ledger":
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
else:
    lock = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Let another process take the lock of a file or folder, and stop that process."""
    with ExitStack() as stack:

        def hold(kind: str, path: Path) -> Callable[[], None]:
            holder = subprocess.Popen(
                [sys.executable, "-c", _HOLDER, kind, str(path)], stdout=subprocess.PIPE
            )
            stack.enter_context(holder)
            stack.callback(holder.kill)
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGSTOP)

            def end() -> None:
                holder.kill()
                holder.wait()

            return end

        yield hold


@contextmanager
def in_another_thread(lock: AbstractContextManager[object]) -> Iterator[None]:
    """Let another thread enter ``lock``, and exit it at the end."""
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert holds.wait(10)
        yield
    finally:
        done.set()
        holder.join()
