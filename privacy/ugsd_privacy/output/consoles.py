"""Rich's consoles and progress bars, without what makes them obey foreign text.

Rich reads ``[b]`` and ``[link=...]`` in any text that it prints as markup, and passes escape
sequences on. :func:`console` and :func:`bars` make the only ones that command lines use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from ugsd_privacy.output.plain_text import plain_text

__all__ = ["bars", "console"]


class _PlainConsole(Console):
    """A console to which text is text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"markup": False, "emoji": False, "highlight": False}))

    def render_str(self, text: str, *given: Any, **options: Any) -> Text:
        """Markup and emoji codes stay as they are written, also where a caller asks for them."""
        off = {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(plain_text(text), *given, **(options | off))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Whatever is printed comes through here: styles are apart from text, which is plain."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain_text(text), style, control)


def console(**options: Any) -> Console:
    """A console with rich's ``options``, say ``stderr`` or ``width``, that reads no markup."""
    return _PlainConsole(**options)


def bars(on: Console, *columns: ProgressColumn | str, **options: Any) -> Progress:
    """Progress bars on a console of :func:`console`. Of the ``columns`` format strings of a task
    become text; none are description, bar and the time that remains."""
    chosen = columns or ("{task.description}", BarColumn(), TimeRemainingColumn())
    text = [TextColumn(c, markup=False) if isinstance(c, str) else c for c in chosen]
    return Progress(*text, console=on, **options)
