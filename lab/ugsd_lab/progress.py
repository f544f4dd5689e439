"""How far a command has come, told on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ugsd_lab.training import Progress

__all__ = ["shown_progress"]


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Bars on stderr, one per stage; where that is no terminal, a line for each tenth."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell_tenths
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, of: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=of, note=note)
            bars.update(tasks[stage], completed=done, note=note)

        yield report


def _tell_tenths(stage: str, done: int, of: int, note: str) -> None:
    if done == of or 10 * done // of != 10 * (done - 1) // of:
        print(f"{stage}: {done}/{of} {note}", file=sys.stderr, flush=True)
