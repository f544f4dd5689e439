"""A caption as HTML for a notebook: one sentence and one small table.

It has no script and loads nothing, and all text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ugsd_privacy.output.plain_text import plain_line

from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.attributes import unit_of
from ugsd_sdk.attributes.labels import attribute_label
from ugsd_sdk.caption.marked_words import Mark, marked_words

if TYPE_CHECKING:
    from ugsd_sdk.caption.caption import Caption

__all__ = ["caption_html"]

_STYLES: Mapping[Mark, str] = {
    Mark.SENT: "background:#ffd94a;color:#000",
    Mark.REPLACED: "background:#ffd94a;color:#000;text-decoration:line-through",
    Mark.DECIDED: "text-decoration:underline #2a9d4a 2px",
}
_CELL = 'style="text-align:left;padding:1px 10px 1px 0"'
_TRACK = "display:inline-block;width:80px;height:8px;background:rgba(128,128,128,.25)"
_BAR = "display:block;height:8px;background:#4a7fd9"


def caption_html(caption: Caption) -> str:
    """Return the caption as a fragment of HTML: the text with marks on words that were sent, what
    was sent, and the attributes that have a value."""
    named = caption.attributes.by_name().items()
    rows = "".join(_row(name, one) for name, one in named if one.value is not None)
    return (
        f'<div><p style="margin:0">{_sentence(caption)}</p>'
        f'<p style="margin:0;opacity:.7"><small>{_plain(_footnote(caption))}</small></p>'
        + (f'<table style="border-collapse:collapse">{rows}</table>' if rows else "")
        + "</div>"
    )


def _sentence(caption: Caption) -> str:
    parts = marked_words(caption)
    if parts is None:
        return _plain(caption.text)
    return "".join(_marked(mark, words) for mark, words in parts).strip()


def _marked(mark: Mark, words: str) -> str:
    if mark not in _STYLES:
        return _plain(words)
    space = " " * words.startswith(" ")
    shown = _plain(words.removeprefix(" "))
    return f'{space}<span style="{_STYLES[mark]}" title="{mark}">{shown}</span>'


def _footnote(caption: Caption) -> str:
    notes = [note.value.replace("_", " ") for note in caption.audio_quality]
    recording = f"; recording: {', '.join(notes)}" if notes else ""
    reason = caption.unverified_reason
    unverified = "" if reason is None else f"; not fully verified: {reason}"
    return caption.usage.text() + recording + unverified


def _row(name: str, attribute: Attribute) -> str:
    label = attribute_label(name, attribute.value or "")
    unit = unit_of(name, attribute.value)
    measured = ""
    if attribute.measured is not None:
        measured = f"{attribute.measured:g} {unit}" if unit else f"{attribute.measured:g}"
    shown = f"<b>{_plain(label)}</b>" if attribute.is_said else _plain(label)
    cells = (_plain(name), shown, _confidence(attribute), _plain(measured), attribute.decided_by)
    return "<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in cells) + "</tr>"


def _confidence(attribute: Attribute) -> str:
    if attribute.confidence is None:
        return ""
    others = "; ".join(f"{value} {share:.2f}" for value, share in attribute.distribution.items())
    title = _plain(others or f"{attribute.confidence:.2f}")
    bar = f'<span style="{_BAR};width:{100 * attribute.confidence:.0f}%"></span>'
    return f'<span style="{_TRACK}" title="{title}">{bar}</span> {attribute.confidence:.2f}'


def _plain(text: str) -> str:
    return escape(plain_line(text, most=len(text)))
