"""What is looked at in a FLAC file before it is decoded (RFC 9639 §8)."""

from __future__ import annotations

import os
from typing import BinaryIO

from ugsd_sdk.audio.clip_formats import FLAC_MAGIC, TAGS_BYTES, refused
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["check_flac"]

_MAX_BLOCKS = 128
_STREAMINFO = FLAC_MAGIC + b"\0\0\0\x22"
"""How every FLAC file begins: its first block is of type 0 and has 34 bytes."""
_SEARCH_BYTES = 2**20


def check_flac(file: BinaryIO, start: int, end: int) -> None:
    """Raise :class:`UnreadableAudio` for more metadata than any writer makes, for a file much
    larger than its samples, and for two files that were joined: only the first would be heard.
    """
    _check_blocks(file, start)
    file.seek(start + 18)
    packed = int.from_bytes(file.read(8), "big")
    channels, bits = (packed >> 41 & 7) + 1, (packed >> 36 & 0x1F) + 1
    frames = packed & (1 << 36) - 1
    if frames and end - start > 2 * frames * channels * -(-bits // 8) + 2 * TAGS_BYTES:
        raise UnreadableAudio(
            f"damaged: its {frames} samples are far smaller than the FLAC file; copy it again"
        )
    at, overlap = start + len(_STREAMINFO), b""
    file.seek(at)
    while data := file.read(_SEARCH_BYTES):
        if _STREAMINFO in overlap + data:
            raise refused("a file of several FLAC recordings, joined")
        overlap = data[-len(_STREAMINFO) :]


def _check_blocks(file: BinaryIO, start: int) -> None:
    at = start + len(FLAC_MAGIC)
    for _ in range(_MAX_BLOCKS):
        file.seek(at, os.SEEK_SET)
        head = file.read(4)
        at += 4 + int.from_bytes(head[1:], "big")
        if len(head) < 4 or head[0] & 0x80:
            break
    else:
        raise refused(f"FLAC with more than {_MAX_BLOCKS} blocks of metadata")
    if at - start > TAGS_BYTES:
        raise refused(f"FLAC with more than {TAGS_BYTES} bytes of metadata")
