"""How many samples an AIFF file holds (Apple's AIFF and AIFF-C, 1989 and 1991)."""

from __future__ import annotations

from typing import BinaryIO

from ugsd_sdk.audio.containers.iff_chunks import Chunk, chunks, samples_bytes
from ugsd_sdk.errors import EmptyAudio, UnreadableAudio

__all__ = ["aiff_frames"]

_FORM_BYTES = 12
_SSND_HEAD_BYTES = 8
_WIDTHS = {b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8, b"alaw": 1, b"ulaw": 1}
_WIDTHS |= {b"ALAW": 1, b"ULAW": 1, b"in24": 3, b"in32": 4, b"42ni": 3, b"23ni": 4}
_PLAIN = (b"", b"NONE", b"twos", b"sowt", b"raw ")


def aiff_frames(file: BinaryIO, start: int, end: int) -> int | None:
    """The number of samples of each channel; ``None`` for an encoding that is not known here.

    Raises :class:`~ugsd_sdk.errors.UnreadableAudio` where fewer or more are there than the header
    states.
    """
    form, data = b"", None
    for chunk in chunks(file, start + _FORM_BYTES, end, "big"):
        if chunk.name == b"COMM" and not form:
            file.seek(chunk.at)
            form = file.read(min(chunk.size, 22))
        elif chunk.name == b"SSND" and data is None:
            size = max(chunk.size - _SSND_HEAD_BYTES, 0)
            data = Chunk(chunk.name, chunk.at + _SSND_HEAD_BYTES, size)
            if form:
                break
    if len(form) < 18 or data is None:
        raise UnreadableAudio(
            "damaged: the AIFF file ends before its samples begin; copy or record it again"
        )
    channels, stated = int.from_bytes(form[:2], "big"), int.from_bytes(form[2:6], "big")
    encoding = form[18:22]
    width = _WIDTHS.get(encoding, 0)
    if encoding in _PLAIN:
        width = -(-int.from_bytes(form[6:8], "big") // 8)
    if not width or not channels:
        return None
    held = samples_bytes(file, data, end, width * channels, "big") // (width * channels)
    if not held:
        raise EmptyAudio("the AIFF file holds no samples: record again")
    if stated and stated < 0x7FFF_0000 // (width * channels) and stated != held:
        raise UnreadableAudio(
            f"damaged: the AIFF header states {stated} samples, and {held} are there; copy or "
            "record it again"
        )
    return held
