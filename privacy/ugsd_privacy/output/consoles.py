"""Rich's consoles and progress bars, made safe for foreign text.

Rich interprets ``[b]`` and ``[link=...]`` in printed text as markup, and passes escape sequences
on. Command lines use only the consoles of :func:`console` and the bars of :func:`bars`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from ugsd_privacy.output.plain_text import encodable, plain_text

__all__ = ["bars", "console"]


class _PlainConsole(Console):
    """A console that interprets neither markup nor escape sequences."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"markup": False, "emoji": False, "highlight": False}))

    def render_str(self, text: str, *given: Any, **options: Any) -> Text:
        """Render text without interpreting markup or emoji codes, even if a caller asks for it."""
        off = {"markup": False, "emoji": False, "highlight": False}
        shown = encodable(plain_text(text), self.encoding)  # now, so that its width is known
        return super().render_str(shown, *given, **(options | off))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Escape all text; everything that is printed passes through here."""
        for text, style, control in super().render(renderable, options):
            shown = text if control else encodable(plain_text(text), self.encoding)
            yield Segment(shown, style, control)


def console(**options: Any) -> Console:
    """Return a console without markup. ``options`` are rich's, such as ``stderr`` or ``width``."""
    return _PlainConsole(**options)


def bars(on: Console, *columns: ProgressColumn | str, **options: Any) -> Progress:
    """Return progress bars on a console of :func:`console`.

    A column that is a string is a format of the task, without markup. The default columns are
    description, bar and remaining time.
    """
    chosen = columns or ("{task.description}", BarColumn(), TimeRemainingColumn())
    text = [TextColumn(c, markup=False) if isinstance(c, str) else c for c in chosen]
    return Progress(*text, console=on, **options)
