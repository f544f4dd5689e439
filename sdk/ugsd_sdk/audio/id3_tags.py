"""Remove ID3v2 tags from an MP3 file, which the decoder must not see.

libmpg123 parses a tag wherever an audio frame could start, and prints a line about each invalid
frame of it; a large tag has a million of them. Concatenated MP3 files have tags between frames.
"""

from __future__ import annotations

import re

from ugsd_sdk.errors import UnreadableAudio

__all__ = ["MAX_TAGS", "tag_bytes", "without_tags"]

MAX_TAGS = 64
_HEAD_BYTES = 10
_HEAD = re.compile(rb"ID3[\x02-\x04][^\xff][\x00-\xff][\x00-\x7f]{4}", re.DOTALL)
"""Header of versions 2.2 to 2.4, the only ones that libmpg123 reads. Audio data contain the same
bytes by chance about once in many gigabytes."""


def tag_bytes(head: bytes) -> int:
    """Return the length of a tag by its first ten bytes (ID3v2.4 structure, section 3.1)."""
    length = 0
    for byte in head[6:_HEAD_BYTES]:
        length = length << 7 | byte & 0x7F
    has_footer = bool(head[5] & 0x10)
    return _HEAD_BYTES * (1 + has_footer) + length


def without_tags(data: bytes) -> bytes:
    """Return ``data`` without its tags. Raises :class:`UnreadableAudio` for more than 64 tags."""
    if _HEAD.search(data) is None:
        return data
    rest, at = bytearray(data), 0
    for _ in range(MAX_TAGS):
        found = _HEAD.search(rest, at)
        if found is None:
            return bytes(rest)
        start = found.start()
        del rest[start : start + tag_bytes(found[0])]
        at = max(0, start - _HEAD_BYTES)  # the joined bytes may form a tag
    raise UnreadableAudio(
        f"an MP3 file with more than {MAX_TAGS} ID3 tags is not supported: remove the tags"
    )
