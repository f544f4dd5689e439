"""MP3 files, rewritten so that libsndfile knows their length.

libsndfile reads as many samples as it expects, and where no header states the number of frames it
guesses from the first one: most of a file of variable bit rate was lost. So the frames are counted,
and a first frame that states the count (Xing's) stands in front of them.
"""

from __future__ import annotations

from typing import BinaryIO

from ugsd_sdk.audio.clip_formats import TO_CONVERT
from ugsd_sdk.audio.containers.whole_frames import CutFrame, whole_frames
from ugsd_sdk.errors import EmptyAudio, UnreadableAudio

__all__ = ["write_counted_frames"]

_KBITS = {  # ISO 11172-3 2.4.2.3 and ISO 13818-3 2.4.2.3, layer III; index 0 is free format
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_HEAD_BYTES = 4
_COUNT_KBITS_INDEX = 8
"""The bit rate of the frame that states the count: large enough for it at every sample rate."""
_VBRI_AT = _HEAD_BYTES + 32
_COUNTED = (b"Xing", b"Info")
_HAS_FRAMES = 1


def write_counted_frames(file: BinaryIO, start: int, end: int, copy: BinaryIO) -> None:
    """Write the frames of ``file`` from ``start`` to ``end`` to ``copy``, with their count.

    Raises :class:`UnreadableAudio` for damage, for a file that has fewer frames than it states, and
    for one that changes its sample rate or its channels.
    """
    file.seek(start)
    first = _Kind(file.read(_HEAD_BYTES))
    if not first.frame_size(first.head):
        raise UnreadableAudio(f"MP3 of free format, or damaged, is not read: {TO_CONVERT}")
    stated, found, at = 0, 0, first.count_at
    try:
        for frame in whole_frames(file, start, end, first.frame_size, "MP3"):
            if not copy.tell():
                stated = _stated(frame, at)
                is_heading = frame[at : at + 4] in _COUNTED and stated > 0
                copy.write(frame if is_heading else first.counting())
                if stated or frame[at : at + 4] in _COUNTED:
                    continue
            found += 1
            copy.write(frame)
    except CutFrame:
        if not found or found != stated:  # else it is junk after the last frame
            raise
    if not found:
        raise EmptyAudio("the MP3 file holds no whole frame of sound: record again")
    if found + 1 < stated:
        raise UnreadableAudio(
            f"damaged: {found} of {stated} MP3 frames are there; copy or record the file again"
        )
    copy.seek(at + 8)
    copy.write(found.to_bytes(4, "big"))
    copy.flush()


def _stated(frame: bytes, at: int) -> int:
    """The number of frames that the first one states; 0 if it states none, or is sound."""
    if frame[at : at + 4] in _COUNTED and frame[at + 7] & _HAS_FRAMES:
        return int.from_bytes(frame[at + 8 : at + 12], "big")
    if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI":
        return int.from_bytes(frame[_VBRI_AT + 14 : _VBRI_AT + 18], "big")
    return 0


class _Kind:
    """What all frames of a file share with its first."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self._version = head[1] >> 3 & 3 if len(head) == _HEAD_BYTES else 1
        self._rates = _RATES.get(self._version, ())
        self._is_mono = len(head) == _HEAD_BYTES and head[3] >> 6 == 3
        self._sizes: dict[tuple[int, int], int] = {}

    @property
    def count_at(self) -> int:
        """Where the count stands in a frame: after the side information."""
        if self._version == 3:
            return _HEAD_BYTES + (17 if self._is_mono else 32)
        return _HEAD_BYTES + (9 if self._is_mono else 17)

    def frame_size(self, head: bytes) -> int:
        """The length of a frame that begins with ``head``; 0 where none does."""
        if len(head) < _HEAD_BYTES or head[0] != 0xFF or head[1] & 0xFE != self.head[1] & 0xFE:
            return 0
        if head[2] & 0x0C != self.head[2] & 0x0C or (head[3] >> 6 == 3) != self._is_mono:
            return 0
        return self._size(head[2])

    def counting(self) -> bytes:
        """A silent frame with room for the number of those that follow it."""
        third = self.head[2] & 0x0C | _COUNT_KBITS_INDEX << 4
        frame = bytearray(self._size(third))
        frame[:_HEAD_BYTES] = self.head[0], self.head[1] | 1, third, self.head[3]
        frame[self.count_at : self.count_at + 8] = b"Info" + _HAS_FRAMES.to_bytes(4, "big")
        return bytes(frame)

    def _size(self, third: int) -> int:
        """The length by the header's third byte: bit rate, sample rate and padding."""
        index = third >> 2 & 3
        if index >= len(self._rates):
            return 0
        is_first = self._version == 3
        bits = 1000 * _KBITS[is_first][third >> 4] * (144 if is_first else 72)
        return bits // self._rates[index] + (third >> 1 & 1) if bits else 0
