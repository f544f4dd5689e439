"""Captions for people: the text, which words were sent, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from ugsd_privacy.output.consoles import console
from ugsd_privacy.output.plain_text import plain_line

from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute, DecidedBy
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.labels import attribute_label
from ugsd_sdk.caption import Caption
from ugsd_sdk.caption.marked_words import Mark, marked_words
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.profile.clip_profile import ProfileUse
from ugsd_sdk.prosody.recording_quality import RecordingNote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

__all__ = ["attributes_line", "caption_text", "legend", "print_caption", "stdout"]

_STYLES = {
    Mark.SENT: ("bold black on yellow", "[", "]"),
    Mark.REPLACED: ("strike black on yellow", "[-", "-]"),
    Mark.DECIDED: ("green underline", "<", ">"),
    Mark.LOCAL: ("", "", ""),
}
_RECORDINGS = {
    RecordingNote.TOO_QUIET: "the recording is very quiet: the caption is less reliable",
    RecordingNote.CLIPPED: "the recording is clipped: the caption is less reliable",
    RecordingNote.NOISY: "the recording is noisy: the caption is less reliable",
}
_SECOND_ABOVE = 0.05
"""The second most probable emotion is printed if it is at least so probable."""
_MISFITS = {
    ProfileUse.DIFFERENT_SPEAKER: "does not sound like the profile's speaker: captioned without it",
    ProfileUse.SEVERAL_SPEAKERS: "sounds like several speakers: the caption mixes them",
    ProfileUse.OTHER_ENCODER: "another audio encoder made the profile: captioned without it",
}


def stdout() -> Console:
    """Return a console that does not wrap lines, so that paths and captions are printed whole."""
    plain = console(soft_wrap=True)
    return plain if plain.is_terminal else console(soft_wrap=True, width=160)


def caption_text(caption: Caption, *, colour: bool) -> Text:
    """Return the caption with marks, by colour or brackets, on words that were sent, sent and then
    replaced, or decided by the verifier."""
    parts = marked_words(caption)
    if parts is None:
        return Text(plain_line(caption.text, most=len(caption.text)))
    text = Text()
    for mark, words in parts:
        style, before, after = _STYLES[mark]
        text.append(" " if text and words[0] == " " else "")
        text.append(words.strip() if colour else before + words.strip() + after, style)
    return text


def legend(*, colour: bool) -> Text:
    """Return the meaning of the colours or brackets, and of the counts."""
    text = Text()
    for mark, (style, before, after) in _STYLES.items():
        text.append(mark if colour else before + mark + after, style)
        text.append("  ")
    text.append("(counts include the end marker if it was sent; it has no text)", "dim")
    return text


def attributes_line(attributes: Attributes) -> str:
    """Return the emotion, and all other attributes that are said or are almost certain, with their
    confidence; empty if there is none."""
    return "; ".join(
        _attribute(name, one)
        for name, one in attributes.by_name().items()
        if name == "emotion" or one.is_said or (one.confidence or 0) >= SAID_ABOVE
        if one.value is not None
    )


def _attribute(name: str, attribute: Attribute) -> str:
    label = attribute_label(name, attribute.value or "")
    is_verified = attribute.decided_by is DecidedBy.VERIFIER
    if is_verified:
        label += " by the verifier"
    elif attribute.confidence is not None:
        label += f" {_probability(attribute.confidence)}"
    others = {k: p for k, p in attribute.distribution.items() if k != attribute.value}
    second = max(others, key=others.__getitem__, default=None)
    if name != "emotion" or second is None or others[second] < _SECOND_ABOVE:
        return label
    whose = "device: " if is_verified else ""
    return f"{label} ({whose}{second} {_probability(others[second])})"


def _probability(probability: float) -> str:
    return f"{probability:.2f}".removeprefix("0")


def print_caption(on: Console, caption: Caption) -> None:
    """Print a caption for people."""
    on.print(Text(plain_line(caption.path or "clip"), style="bold"))
    on.print(Text("  ") + caption_text(caption, colour=on.is_terminal))
    if known := attributes_line(caption.attributes):
        on.print(Text(f"  {known}", style="dim"))
    sources = [token.source for token in caption.tokens]
    details = [caption.usage.text(), *_provenance(sources), f"{caption.latency_ms.total:.0f} ms"]
    on.print(Text("  " + "; ".join(details), style="dim"))
    for note in caption.audio_quality:
        on.print(Text(f"  {_RECORDINGS[note]}", style="yellow"))
    if caption.profile.use in _MISFITS:
        on.print(Text(f"  {_MISFITS[caption.profile.use]}", style="yellow"))
    if caption.unverified_reason is not None:
        reason = plain_line(str(caption.unverified_reason))
        on.print(Text(f"  not fully verified: {reason}", style="red"))


def _provenance(sources: Iterable[TokenSource]) -> list[str]:
    every = list(sources)
    counts = [(source, every.count(source)) for source in TokenSource if source in every]
    return [", ".join(f"{count} {source}" for source, count in counts)] if counts else []
