"""SIGTERM ends a command as Ctrl-C does: what was begun is closed, and what is done is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TERMINATED", "ended_by_sigterm"]

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a command that was ended by SIGTERM, as shells report it."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Raise :class:`SystemExit` inside the block on SIGTERM, unless a program that embeds the
    command has a handler of its own."""
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
