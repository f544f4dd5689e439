"""Whether an MP4 or Matroska file ends where its outermost boxes say.

FFmpeg reads what is there of a file that was cut, and looks for the next part of one with a hole.
"""

from __future__ import annotations

from typing import BinaryIO

from ugsd_sdk.audio.clip_formats import MATROSKA, MP4, ClipFormat
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["check_boxes"]

_MAX_BOXES = 300_000
"""12 h in fragments of a second have 86,400 of them, each with two boxes."""
_SEGMENT = b"\x18\x53\x80\x67"
_JUNK_BYTES = 2**20


def check_boxes(file: BinaryIO, start: int, end: int, found: ClipFormat) -> None:
    """Raise :class:`UnreadableAudio` for a file that is shorter or longer than its boxes. A live
    recording, which does not know its length, may end anywhere."""
    if found is MP4:
        _check_mp4(file, start, end)
    elif found is MATROSKA:
        _check_matroska(file, start, end)


def _check_mp4(file: BinaryIO, at: int, end: int) -> None:
    """ISO 14496-12, 4.2: size, type, and a longer size if that is 1."""
    for _ in range(_MAX_BOXES):
        if at > end:
            raise _cut(at - end)
        if at == end:
            return
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0 and head[4:8].isalnum():  # to the end of the file
            return
        if size < 8 or len(head) < 8:
            _check_padding(file, at, end)
            return
        at += size
    raise UnreadableAudio("an MP4 file of more than 300,000 boxes: convert it to WAV")


def _check_matroska(file: BinaryIO, start: int, end: int) -> None:
    """RFC 8794 §4 and RFC 9559 §5: a header, and one segment of all that follows."""
    header = _element(file, start)
    segment = _element(file, header[1]) if header is not None and header[1] < end else None
    if segment is None or segment[0] != _SEGMENT:
        return  # FFmpeg says what is wrong, or the length is unknown
    if segment[1] > end:
        raise _cut(segment[1] - end)
    _check_padding(file, segment[1], end)


def _element(file: BinaryIO, at: int) -> tuple[bytes, int] | None:
    """An element's name and end; ``None`` where its length is unknown."""
    file.seek(at)
    head = file.read(12)
    if len(head) < 5:
        return None
    length = 9 - head[4].bit_length()
    if length > 8 or len(head) < 4 + length:
        return None
    size = int.from_bytes(head[4 : 4 + length], "big") & (1 << 7 * length) - 1
    return None if size == (1 << 7 * length) - 1 else (head[:4], at + 4 + length + size)


def _check_padding(file: BinaryIO, at: int, end: int) -> None:
    file.seek(at)
    rest = file.read(_JUNK_BYTES)
    if at + len(rest) < end or rest.strip(b"\0"):
        raise UnreadableAudio(
            f"damaged: {end - at} bytes follow what the file's header accounts for; copy or record "
            "it again"
        )


def _cut(missing: int) -> UnreadableAudio:
    return UnreadableAudio(
        f"damaged: the file was cut short, {missing} bytes are missing; copy or record it again"
    )
