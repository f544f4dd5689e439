"""ID3v2 tags in front of and between the frames of a file, which no decoder must see."""

from __future__ import annotations

__all__ = ["ID3", "ID3_HEAD_BYTES", "tag_bytes"]

ID3 = b"ID3"
ID3_HEAD_BYTES = 10


def tag_bytes(head: bytes) -> int:
    """The length of the tag whose first ten bytes these are (ID3v2.4 structure, section 3.1)."""
    length = 0
    for byte in head[6:ID3_HEAD_BYTES]:
        length = length << 7 | byte & 0x7F
    has_footer = bool(head[5] & 0x10)
    return ID3_HEAD_BYTES * (1 + has_footer) + length
