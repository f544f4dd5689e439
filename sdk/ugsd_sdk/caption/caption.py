"""The caption: its text, what it says as data, and what was sent for it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Self

from ugsd_privacy.audit.receipts import Receipt

from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.caption.notebook import caption_html
from ugsd_sdk.caption.parts import (
    BlockDecision,
    CaptionProfile,
    CaptionSpeech,
    CaptionToken,
    CaptionUsage,
    Count,
    Latency,
    ReasonField,
    Result,
    Share,
)
from ugsd_sdk.caption.rows import Scalar, attribute_rows, caption_row
from ugsd_sdk.caption.stored_json import read_stored
from ugsd_sdk.prosody.recording_quality import RecordingNote

__all__ = ["COMPACT_EXCLUDED", "NO_SPEECH", "Caption", "escaped_path"]

NO_SPEECH = "No speech."
"""The text for a recording without a voice."""

_MAX_ITEMS = 400_000
"""Most values of a caption's JSON that is read: twelve hours have some ten thousand utterances."""
COMPACT_EXCLUDED: dict[str, Any] = {
    "tokens": True,
    "decisions": True,
    "receipts": True,
    "attributes": {name: {"distribution"} for name in ATTRIBUTE_VALUES if name != "emotion"},
}
"""What the small form of a caption's JSON leaves out."""


class Caption(Result):
    """A caption: what it says in words and as data, and what was sent for it.

    ``str()`` is the sentence. :meth:`to_json` writes it for other programs, small or with all
    details, and :meth:`from_json` reads both; ``docs/caption.schema.json`` describes them.
    """

    path: str | None = None
    """The clip's path, if it has one, in which bytes that are not UTF-8 are escaped."""
    text: str
    """The sentence, or "No speech." for a recording without a voice."""
    length: CaptionLength
    """The length that was asked for."""
    seed: Count
    """The seed of the wording: the same clip, profile, settings and seed give the same text."""
    attributes: Attributes = Attributes.unknown()
    """What is known of the voice, whether the text says it or not. They never contradict it."""
    confidence: Share | None = None
    """The probability that everything that the text says is right, if its claims are independent.
    Null if it says nothing, and if the verifier decided the emotion."""
    audio_quality: tuple[RecordingNote, ...] = ()
    """What is wrong with the recording, which makes the caption less reliable."""
    is_truncated: bool = False
    """Whether the caption was cut at the drafter's longest caption."""
    speech: CaptionSpeech
    """What was captioned of the recording."""
    profile: CaptionProfile = CaptionProfile.none()
    """Which speaker profile the caption rests on, and whether the clip fits it."""
    usage: CaptionUsage
    """What was sent for the caption."""
    latency_ms: Latency
    """Where the time went."""
    unverified_reason: ReasonField | None = None
    """Why tokens that should have been verified were not; null if nothing failed."""
    id: str | None = None
    """The caption's id in hex, as the journal and the log use it; null without a verifier."""
    tokens: tuple[CaptionToken, ...] = ()
    """The tokens of the text, without special tokens except those that replaced sent words."""
    decisions: tuple[BlockDecision, ...] = ()
    """Why each drafted block was escalated or not, in order."""
    receipts: tuple[Receipt, ...] = ()
    """One receipt per frame, which proves that the audit log contains it."""

    def to_json(self, *, details: bool = False) -> str:
        """Return the caption as JSON on one line, of about a kilobyte.

        It leaves out tokens, decisions and receipts, the distributions of all attributes but the
        emotion, and every field that has its default. With ``details`` it has every field.
        """
        if details:
            return self.model_dump_json()
        return self.model_dump_json(exclude_defaults=True, exclude=COMPACT_EXCLUDED)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote: from all details an equal caption, otherwise one that
        lacks what was left out. Raises :class:`WrongValue` for anything else."""
        return read_stored(cls, text, max_items=_MAX_ITEMS)

    def rows(self) -> list[dict[str, Scalar]]:
        """Return a flat row for each attribute, for a data frame."""
        return attribute_rows(self)

    def row(self) -> dict[str, Scalar]:
        """Return one flat row for a data frame. Every caption has the same columns."""
        return caption_row(self)

    def __str__(self) -> str:
        return self.text

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [(None, self.text), ("sent", self.usage.text())]

    def _repr_html_(self) -> str:
        return caption_html(self)


def escaped_path(path: str | os.PathLike[str]) -> str:
    """Return the path as valid Unicode text; bytes that are not UTF-8 are escaped."""
    name = os.fsdecode(path)
    with suppress(UnicodeEncodeError):  # names may be decoded by another encoding, as in C locales
        name = os.fsencode(name).decode("utf-8", "surrogateescape")
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
