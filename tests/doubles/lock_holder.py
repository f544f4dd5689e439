"""Another process that takes a lock of ours and is stopped while it holds it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

__all__ = ["Hold", "hold"]

Hold = Callable[[str, Path], Callable[[], None]]
"""Of what kind the lock is, and of which file; it returns what ends the holder."""

_HOLDER = """
import fcntl, os, sqlite3, sys, time
kind, path = sys.argv[1:]
if kind == "ledger":
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
else:
    held = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Have another process take the lock of a file or folder, and stop it."""
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
