"""How far a command has come, for people who wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ugsd_privacy.output.consoles import bars, console

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while it lasts, told how much of how much is done; only on a terminal."""
    on = console(stderr=True)
    with bars(on, transient=True, disable=not on.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
