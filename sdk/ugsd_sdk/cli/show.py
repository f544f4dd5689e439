"""Captions for people: what was said, which words left, what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ugsd_sdk.caption import Caption
from ugsd_sdk.events import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["caption_text", "cost_line", "legend", "print_caption", "stdout"]

_LEFT = "bold black on yellow"
_WRITTEN = "green underline"


def stdout() -> Console:
    """A console that neither wraps nor guesses: paths and captions are printed as they are."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)


def caption_text(caption: Caption) -> Text:
    """The caption; words that left and words that the verifier wrote stand out on a terminal."""
    text = Text()
    for token in caption.tokens:
        word = token.text if text else token.text.lstrip()
        written = token.source in {Source.CORRECTED, Source.CONTINUED}
        text.append(word, style=_LEFT if token.left else _WRITTEN if written else "")
    # The tokens are the text, up to spaces; where a tokenizer says otherwise, its text counts.
    return text if text.plain.split() == caption.text.split() else Text(caption.text)


def legend() -> Text:
    """What the colours mean."""
    return Text.assemble(
        ("left this device", _LEFT), "  ", ("written by the verifier", _WRITTEN), "  kept here"
    )


def cost_line(caption: Caption) -> str:
    """What left, in one line."""
    cost = caption.escalation
    if not cost.blocks:
        return "nothing left this device"
    return (
        f"{_count(cost.blocks, 'block')} left: {_count(cost.disclosed_tokens, 'token')}, "
        f"{_count(cost.disclosed_states, 'state')}, {cost.bytes_sent} bytes"
    )


def print_caption(console: Console, caption: Caption) -> None:
    """One readable block per clip."""
    console.print(Text(caption.path or "clip", style="bold"))
    console.print(Text("  ") + caption_text(caption))
    sources = [token.source for token in caption.tokens]
    details = [cost_line(caption), *_provenance(sources), f"{caption.latency_ms.total:.0f} ms"]
    console.print(Text("  " + "; ".join(details), style="dim"))
    if caption.degraded is not None:
        console.print(Text(f"  not fully verified: {caption.degraded}", style="red"))


def _provenance(sources: Iterable[Source]) -> list[str]:
    found = list(sources)
    counts = [(source, found.count(source)) for source in Source]
    return [" ".join(f"{count} {source}" for source, count in counts if count)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
