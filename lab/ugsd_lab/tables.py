"""Tables with the same cells on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["TextTable", "markdown", "print_tables", "widen"]

_COLUMNS = 130
"""Minimum width of tables on a terminal, whatever width the terminal reports."""


@dataclass(frozen=True)
class TextTable:
    """Rows of text below a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: Collection[str] | None = None
    """Names of the text columns; the others hold numbers and are aligned to the right. ``None``:
    all columns hold text and may be wrapped."""
    section_rows: int = 0
    """On a terminal, a line is drawn below this many rows."""

    def is_text(self, column: str) -> bool:
        """Return whether a column is aligned to the left."""
        return self.left is None or column in self.left


def markdown(tables: Iterable[TextTable], notes: Iterable[str]) -> str:
    """Return the tables as Markdown, each below its title, and a list of ``notes``."""
    parts = []
    for table in tables:
        rule = ["---" if table.is_text(name) else "---:" for name in table.header]
        lines = [f"| {' | '.join(cells)} |" for cells in (table.header, rule, *table.rows)]
        parts += [f"**{table.title}**"] * bool(table.title) + ["\n".join(lines)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)])


def print_tables(
    tables: Iterable[TextTable],
    console: Console,
    notes: Iterable[str] = (),
    *,
    columns: int = _COLUMNS,
) -> None:
    """Print the tables and then the ``notes``, at least ``columns`` wide."""
    widen(console, columns)
    for table in tables:
        shown = Table(title=table.title or None, title_justify="left")
        for name in table.header:
            shown.add_column(
                name,
                justify="left" if table.is_text(name) else "right",
                no_wrap=table.left is not None,
            )
        for number, row in enumerate(table.rows, 1):
            shown.add_row(*row, end_section=number == table.section_rows)
        console.print(shown)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)


def widen(console: Console, columns: int = _COLUMNS) -> None:
    """Give ``console`` at least this many ``columns``; a narrower terminal wraps the lines."""
    console.width = max(columns, console.width)
