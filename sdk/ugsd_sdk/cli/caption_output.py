"""Captions for people: the text, which words were sent, and what it cost."""

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

_SENT, _REPLACED = "sent to the verifier", "sent, then replaced"
_WRITTEN, _LOCAL = "written by the verifier", "not sent"
_STYLES = {
    _SENT: ("bold black on yellow", "[", "]"),
    _REPLACED: ("strike black on yellow", "[-", "-]"),
    _WRITTEN: ("green underline", "<", ">"),
    _LOCAL: ("", "", ""),
}


def stdout() -> Console:
    """Return a console that does not wrap lines, so that paths and captions are printed whole."""
    plain = console(soft_wrap=True)
    return plain if plain.is_terminal else console(soft_wrap=True, width=160)


def caption_text(caption: Caption, *, colour: bool) -> Text:
    """Return the caption with marks, by colour or brackets, on words that were sent, sent and then
    replaced, or written by the verifier."""
    joined = "".join(token.text for token in caption.tokens)
    if joined.split() != caption.text.split():  # a tokenizer may join tokens differently
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
    # An end marker that replaced sent words does not belong to the word before it.
    ends = bool(tokens) and bool(tokens[-1].replaced) and not tokens[-1].text
    words = tokens[: len(tokens) - ends]
    for index, token in enumerate(tokens):
        if token.replaced:
            yield _REPLACED, token.replaced
        if token.text:
            wordless = takewhile(lambda later: not later.text, words[index + 1 :])
            yield _kind([token, *wordless]), token.text


def legend(*, colour: bool) -> Text:
    """Return the meaning of the colours or brackets, and of the counts."""
    text = Text()
    for kind, (style, before, after) in _STYLES.items():
        text.append(kind if colour else before + kind + after, style)
        text.append("  ")
    text.append("(counts include the end marker if it was sent; it has no text)", "dim")
    return text


def _kind(tokens: Sequence[CaptionToken]) -> str:
    """Return the kind of a word of one or more tokens; if any token was sent, the word was."""
    if any(token.disclosed for token in tokens):
        return _SENT
    written = {TokenSource.CORRECTED, TokenSource.CONTINUED}
    return _WRITTEN if any(token.source in written for token in tokens) else _LOCAL


def cost_line(caption: Caption) -> str:
    """Return what was sent for the caption, in one line."""
    usage = caption.usage
    if not usage.num_blocks:
        return "no block was sent"
    guarantee = "" if usage.guarantee is None else f", {usage.guarantee.text()}"
    return (
        f"{_count(usage.num_blocks, 'block')} sent: {_count(usage.num_disclosed_tokens, 'token')}, "
        f"{_count(usage.num_disclosed_states, 'state')}{guarantee}, {usage.bytes_sent} bytes"
    )


def print_caption(on: Console, caption: Caption) -> None:
    """Print a caption for people."""
    on.print(Text(plain_line(caption.path or "clip"), style="bold"))
    on.print(Text("  ") + caption_text(caption, colour=on.is_terminal))
    sources = [token.source for token in caption.tokens]
    details = [cost_line(caption), *_provenance(sources), f"{caption.latency_ms.total:.0f} ms"]
    on.print(Text("  " + "; ".join(details), style="dim"))
    if caption.unverified_reason is not None:
        reason = plain_line(str(caption.unverified_reason))
        on.print(Text(f"  not fully verified: {reason}", style="red"))


def _provenance(sources: Iterable[TokenSource]) -> list[str]:
    every = list(sources)
    counts = [(source, every.count(source)) for source in TokenSource]
    return [", ".join(f"{count} {source}" for source, count in counts if count)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
