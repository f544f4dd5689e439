"""AAC in ADTS: frames with a header of seven bytes (ISO 13818-7, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ugsd_sdk.audio.containers.whole_frames import whole_frames

__all__ = ["adts_frames"]

_HEAD_BYTES = 7


def adts_frames(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The frames from ``start`` to ``end``. Raises
    :class:`~ugsd_sdk.errors.UnreadableAudio` for damage between them, and where the sample rate or
    the channels change."""
    file.seek(start)
    first = _fixed(file.read(_HEAD_BYTES))

    def frame_size(head: bytes) -> int:
        if len(head) < _HEAD_BYTES or _fixed(head) != first:
            return 0
        return (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5

    return whole_frames(file, start, end, frame_size, "AAC")


def _fixed(head: bytes) -> int:
    """Sync, version, profile, sample rate and channels, which all frames of a file share."""
    return int.from_bytes(head[:4], "big") & 0xFFFE_FDC0
