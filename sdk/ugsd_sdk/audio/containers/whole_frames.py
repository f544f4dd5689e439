"""The frames of MP3 and ADTS files, one after the other, without what stands between them.

Both formats are frames and nothing else: a decoder that meets other bytes looks for the next frame
and skips what it cannot read. Here it is given whole frames only; a file with damage between them
is refused, so that nothing of it is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from ugsd_sdk.audio.containers.id3_tags import ID3, ID3_HEAD_BYTES, tag_bytes
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["CutFrame", "FrameSize", "whole_frames"]

FrameSize = Callable[[bytes], int]
"""The length in bytes of the frame that begins with these bytes, 8 or more; 0 if none does."""

_HEAD_BYTES = 8
_MAX_TAGS = 64
_TAG_V1_BYTES = 128
_APE, _APE_HEAD_BYTES = b"APETAGEX", 32
_JUNK_BYTES = 2**20


class CutFrame(UnreadableAudio):
    """The file ends within a frame."""


def whole_frames(
    file: BinaryIO, at: int, end: int, frame_size: FrameSize, name: str
) -> Iterator[bytes]:
    """Every frame from ``at`` to ``end``. Tags between frames are skipped, and so is what follows
    the last frame: a tag or padding.

    Raises :class:`CutFrame`, and :class:`UnreadableAudio` where something else stands between
    frames, for more than 64 tags, and for more than 1 MiB of something else at the end.
    """
    tags = 0
    file.seek(at)
    while at < end:
        head = file.read(_HEAD_BYTES)
        size = frame_size(head)
        if size > _HEAD_BYTES:
            if at + size > end:
                raise _cut(name, at)
            yield head + file.read(size - _HEAD_BYTES)
            at += size
            continue
        if len(head) < _HEAD_BYTES and head[0] == 0xFF:
            raise _cut(name, at)
        file.seek(at)
        skipped = _tag_size(file.read(_APE_HEAD_BYTES))
        tags += 1
        if tags > _MAX_TAGS:
            raise UnreadableAudio(
                f"an {name} file with more than {_MAX_TAGS} tags is not read: remove them"
            )
        if not skipped:
            skipped = _next_frame(file, at, end, frame_size, name)
        at += skipped
        file.seek(at)


def _cut(name: str, at: int) -> CutFrame:
    return CutFrame(
        f"damaged: the file ends within the {name} frame at byte {at}; copy or record it again"
    )


def _tag_size(head: bytes) -> int:
    """The length of the tag that begins here (ID3v2, ID3v1 or APEv2); 0 if none does."""
    if head.startswith(ID3) and len(head) >= ID3_HEAD_BYTES:
        return tag_bytes(head[:ID3_HEAD_BYTES])
    if head.startswith(b"TAG"):
        return _TAG_V1_BYTES
    if head.startswith(_APE):
        return int.from_bytes(head[12:16], "little") + _APE_HEAD_BYTES * (head[23] >> 7)
    return 0


def _next_frame(file: BinaryIO, at: int, end: int, frame_size: FrameSize, name: str) -> int:
    """How far it is to the next frame if only zeros stand before it, or to the end if no frame
    follows."""
    file.seek(at)
    rest = file.read(_JUNK_BYTES)
    zeros = len(rest) - len(rest.lstrip(b"\0"))
    offset = rest.find(b"\xff")
    while offset >= 0:
        size = frame_size(rest[offset : offset + _HEAD_BYTES])
        if size and frame_size(rest[offset + size : offset + size + _HEAD_BYTES]):
            if offset == zeros:
                return offset
            raise UnreadableAudio(
                f"damaged: no {name} frame at byte {at}, but more of them after it; copy or record "
                "the file again"
            )
        offset = rest.find(b"\xff", offset + 1)
    if at + len(rest) < end:
        raise UnreadableAudio(
            f"damaged: more than {_JUNK_BYTES} bytes at byte {at} are no {name} frame; copy or "
            "record the file again"
        )
    return len(rest)
