"""ID3v2 tags inside of an MP3 file, which the decoder must not see.

libmpg123 parses a tag wherever an audio frame could start, and prints a line about each odd frame
of it: a large tag has a million of them. Concatenated MP3 files have tags between their frames.
"""

from __future__ import annotations

import re

from ugsd_sdk.errors import UnreadableAudio

__all__ = ["MAX_TAGS", "tag_bytes", "without_tags"]

MAX_TAGS = 64
_HEAD_BYTES = 10
_HEAD = re.compile(rb"ID3[\x02-\x04][^\xff][\x00-\xff][\x00-\x7f]{4}", re.DOTALL)
"""Versions 2.2 to 2.4; libmpg123 reads no others. In sound, the same bytes come by chance once in
many gigabytes."""


def tag_bytes(head: bytes) -> int:
    """The length of the tag whose first ten bytes these are (ID3v2.4 structure, section 3.1)."""
    length = 0
    for byte in head[6:_HEAD_BYTES]:
        length = length << 7 | byte & 0x7F
    has_footer = bool(head[5] & 0x10)
    return _HEAD_BYTES * (1 + has_footer) + length


def without_tags(data: bytes) -> bytes:
    """``data`` without the tags in it. Raises :class:`UnreadableAudio` for more than 64 of them."""
    if _HEAD.search(data) is None:
        return data
    rest, at = bytearray(data), 0
    for _ in range(MAX_TAGS):
        found = _HEAD.search(rest, at)
        if found is None:
            return bytes(rest)
        start = found.start()
        del rest[start : start + tag_bytes(found[0])]
        at = max(0, start - _HEAD_BYTES)  # what is joined now may read as a tag
    raise UnreadableAudio(
        f"an MP3 file with more than {MAX_TAGS} ID3 tags is not read: remove them"
    )
