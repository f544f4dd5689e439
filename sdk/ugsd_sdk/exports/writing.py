"""Write captions with times to a file, one at a time, or return the file's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ugsd_sdk.exports.formats import CaptionFormat, caption_formatter
from ugsd_sdk.exports.timed_caption import TimedCaption

__all__ = ["caption_file_text", "write_captions"]


def write_captions(
    file: BinaryIO,
    captions: Iterable[TimedCaption],
    kind: CaptionFormat | str,
    *,
    source: str | None = None,
    details: bool = False,
) -> None:
    """Write a file in UTF-8 to ``file``, which is open for bytes, and flush it after each caption.

    ``captions`` may be made while they are written, in the order of their start; ``source`` and
    ``details`` are those of :func:`~ugsd_sdk.exports.caption_formatter`.
    """
    for part in _parts(captions, kind, source=source, details=details):
        file.write(part.encode())
        file.flush()


def caption_file_text(
    captions: Iterable[TimedCaption],
    kind: CaptionFormat | str,
    *,
    source: str | None = None,
    details: bool = False,
) -> str:
    """Return the whole text of a file. The captions, in any order, are sorted by their start."""
    ordered = sorted(captions, key=lambda caption: (caption.start_s, caption.end_s))
    return "".join(_parts(ordered, kind, source=source, details=details))


def _parts(
    captions: Iterable[TimedCaption],
    kind: CaptionFormat | str,
    *,
    source: str | None,
    details: bool,
) -> Iterator[str]:
    formatter = caption_formatter(kind, source=source, details=details)
    yield formatter.header()
    for caption in captions:
        yield formatter.cue(caption)
