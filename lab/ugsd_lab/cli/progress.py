"""Progress of a command, shown on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ugsd_privacy.output.terminal import print_line

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ugsd_lab.models.embeddings import Progress

__all__ = ["shown_progress"]


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show a bar per stage on stderr; if that is not a terminal, print a line for each tenth."""
    from ugsd_privacy.output.consoles import bars, console

    on = console(stderr=True)
    if not on.is_terminal:
        yield _print_tenths
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    with bars(
        on, "{task.description:>24}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        "{task.fields[note]}",
    ) as shown:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, of: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=of, note=note)
            shown.update(tasks[stage], completed=done, note=note)

        yield report


def _print_tenths(stage: str, done: int, of: int, note: str) -> None:
    if done == of or 10 * done // of != 10 * (done - 1) // of:
        print_line(f"{stage}: {done}/{of} {note}", err=True)
