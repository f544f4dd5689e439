"""Captions for people: what was said, which words left, what it cost."""

from __future__ import annotations

from itertools import groupby, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.text import Text
from ugsd_privacy.output.consoles import console
from ugsd_privacy.output.plain_text import plain_line

from ugsd_sdk.caption import Caption, CaptionToken
from ugsd_sdk.decoding.events import TokenSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

__all__ = ["caption_text", "cost_line", "legend", "print_caption", "stdout"]

_LEFT, _REPLACED = "left this device", "left, then replaced"
_WRITTEN, _KEPT = "written by the verifier", "kept here"
_STYLES = {
    _LEFT: ("bold black on yellow", "[", "]"),
    _REPLACED: ("strike black on yellow", "[-", "-]"),
    _WRITTEN: ("green underline", "<", ">"),
    _KEPT: ("", "", ""),
}


def stdout() -> Console:
    """A console that neither wraps nor guesses: paths and captions are printed as they are."""
    plain = console(soft_wrap=True)
    return plain if plain.is_terminal else console(soft_wrap=True, width=160)


def caption_text(caption: Caption, *, colour: bool) -> Text:
    """The caption; words that left, also those that were then replaced, and words that the verifier
    wrote stand out, by colour or in brackets."""
    said = "".join(token.text for token in caption.tokens)
    if said.split() != caption.text.split():  # where a tokenizer says otherwise, its text counts
        return Text(plain_line(caption.text, most=len(caption.text)))
    text = Text()
    for kind, parts in groupby(_parts(caption), key=itemgetter(0)):
        words = "".join(part for _, part in parts)
        style, before, after = _STYLES[kind]
        text.append(" " if text and words[0] == " " else "")
        text.append(words.strip() if colour else before + words.strip() + after, style)
    return text


def _parts(caption: Caption) -> Iterator[tuple[str, str]]:
    tokens = caption.tokens
    # An end that the verifier wrote in the place of sent words is no part of the word before it.
    ends = bool(tokens) and bool(tokens[-1].replaced) and not tokens[-1].text
    words = tokens[: len(tokens) - ends]
    for index, token in enumerate(tokens):
        if token.replaced:
            yield _REPLACED, token.replaced
        if token.text:
            wordless = takewhile(lambda later: not later.text, words[index + 1 :])
            yield _kind([token, *wordless]), token.text


def legend(*, colour: bool) -> Text:
    """What the colours or brackets mean, and what is counted."""
    text = Text()
    for kind, (style, before, after) in _STYLES.items():
        text.append(kind if colour else before + kind + after, style)
        text.append("  ")
    text.append("(counts include the end marker where it left; it has no text)", "dim")
    return text


def _kind(tokens: Sequence[CaptionToken]) -> str:
    """Of the tokens behind a word: what left is told before anything else."""
    if any(token.disclosed for token in tokens):
        return _LEFT
    written = {TokenSource.CORRECTED, TokenSource.CONTINUED}
    return _WRITTEN if any(token.source in written for token in tokens) else _KEPT


def cost_line(caption: Caption) -> str:
    """What left, in one line."""
    cost = caption.usage
    if not cost.num_blocks:
        return "no block was sent"
    bound = "" if cost.guarantee is None else f", {cost.guarantee.text()}"
    return (
        f"{_count(cost.num_blocks, 'block')} sent: {_count(cost.num_disclosed_tokens, 'token')}, "
        f"{_count(cost.num_disclosed_states, 'state')}{bound}, {cost.bytes_sent} bytes"
    )


def print_caption(on: Console, caption: Caption) -> None:
    """One readable block per clip."""
    on.print(Text(plain_line(caption.path or "clip"), style="bold"))
    on.print(Text("  ") + caption_text(caption, colour=on.is_terminal))
    sources = [token.source for token in caption.tokens]
    details = [cost_line(caption), *_provenance(sources), f"{caption.latency_ms.total:.0f} ms"]
    on.print(Text("  " + "; ".join(details), style="dim"))
    if caption.unverified_reason is not None:
        why = plain_line(caption.unverified_reason)
        on.print(Text(f"  not fully verified: {why}", style="red"))


def _provenance(sources: Iterable[TokenSource]) -> list[str]:
    found = list(sources)
    counts = [(source, found.count(source)) for source in TokenSource]
    return [" ".join(f"{count} {source}" for source, count in counts if count)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
