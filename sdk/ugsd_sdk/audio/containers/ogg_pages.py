"""The pages of an Ogg file (RFC 3533 §6), checked before a decoder sees them.

A decoder that meets bytes that are no page looks for the next one and computes a checksum at every
place that might begin one: a few megabytes can take it minutes. So it is given whole, sound pages
only, one after the other. Files may be chained (§4): each link is a stream of its own, and
libsndfile hears the first alone, so that it is given them one by one.
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from ugsd_sdk.errors import UnreadableAudio

__all__ = ["MAX_LINKS", "MAX_PAGES", "Link", "links"]

MAX_PAGES = 2_200_000
"""12 h of Opus with a page for each packet of 20 ms have 2,160,000."""
MAX_LINKS = 1_000
_MAX_EMPTY_PAGES = 1_000

_CAPTURE = b"OggS\0"
_HEAD_BYTES = 27
_CHECKSUM = slice(22, 26)
_FIRST, _LAST = 0x02, 0x04
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CODECS = (b"\x01vorbis", b"OpusHead")
_JUNK_BYTES = 2**20


class Link(NamedTuple):
    """Where a logical stream stands."""

    start: int
    end: int


class _Page(NamedTuple):
    size: int
    body_at: int
    data: bytes


def links(file: BinaryIO, start: int, end: int) -> list[Link] | None:
    """The logical streams of ``file``, one after the other, without what follows the last page,
    such as a tag or the padding of a card. ``None`` if streams are interleaved, as sound and
    pictures are, or of other codecs than Vorbis and Opus.

    Raises :class:`UnreadableAudio` where something else stands between pages, a page was cut short,
    its checksum is wrong, or there are too many of them.
    """
    starts: list[int] = []
    serial, at, empty, has_sound, is_last = b"", start, 0, False, False
    file.seek(at)
    for _ in range(MAX_PAGES):
        page = _next_page(file, at, end, may_end=is_last)
        if page is None:
            edges = [*starts, at]
            return [Link(*edge) for edge in pairwise(edges)]
        if page.data[5] & _FIRST:
            if (starts and not has_sound) or not page.data[page.body_at :].startswith(_CODECS):
                return None
            serial, has_sound = page.data[14:18], False
            starts.append(at)
        elif page.data[14:18] != serial:
            return None
        else:
            has_sound = True
        is_last = bool(page.data[5] & _LAST)
        empty += page.body_at == page.size
        if empty > _MAX_EMPTY_PAGES or len(starts) > MAX_LINKS:
            raise UnreadableAudio(
                f"an Ogg file of more than {MAX_LINKS} streams or empty pages is not read: "
                "convert it, for example by `ffmpeg -i clip.ogg clip.wav`"
            )
        at += page.size
    raise UnreadableAudio(f"an Ogg file of more than {MAX_PAGES} pages: cut it to 12 h")


def _next_page(file: BinaryIO, at: int, end: int, *, may_end: bool) -> _Page | None:
    """The page at ``at``, where ``file`` stands; ``None`` at the end, and before trailing bytes if
    the page before was marked as the last."""
    head = file.read(min(_HEAD_BYTES, end - at))
    if not head:
        return None
    if not head.startswith(_CAPTURE[: len(head)]):
        if may_end and _is_junk(file, at, end):
            return None
        raise _damaged(at)
    lengths = file.read(head[26]) if len(head) == _HEAD_BYTES else b""
    body = file.read(sum(lengths))
    size = _HEAD_BYTES + len(lengths) + sum(lengths)
    if len(head) < _HEAD_BYTES or len(lengths) < head[26] or at + size > end:
        raise UnreadableAudio(
            f"damaged: the file ends within the Ogg page at byte {at}; copy or record it again"
        )
    data = head + lengths + body
    rest = b"".join((head[: _CHECKSUM.start], bytes(4), data[_CHECKSUM.stop :]))
    if _checksum(rest) != head[_CHECKSUM]:
        raise _damaged(at)
    return _Page(size, size - len(body), data)


def _is_junk(file: BinaryIO, at: int, end: int) -> bool:
    """Whether no page follows in what remains, which is not much."""
    file.seek(at)
    rest = file.read(min(end - at, _JUNK_BYTES + 1))
    return len(rest) <= _JUNK_BYTES and _CAPTURE not in rest


def _checksum(page: bytes) -> bytes:
    """CRC-32 with the bits of each byte in the other order than zlib's, and no inversions."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return mirrored.to_bytes(4, "big").translate(_REVERSED)


def _damaged(at: int) -> UnreadableAudio:
    return UnreadableAudio(f"damaged: no whole Ogg page at byte {at}: copy or record it again")
