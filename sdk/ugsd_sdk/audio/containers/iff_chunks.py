"""The chunks of WAV and AIFF files, and whether their samples are all there.

A header that promises more than the file has was cut short; one that promises less was not brought
up to date when sound was added. Neither is read in part: what a file holds is read, or an error
says what is wrong. Programs that write to a pipe cannot know the length; they leave 0 or a number
near 2^31 or 2^32, and their samples go on to the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from ugsd_sdk.audio.clip_formats import TO_CONVERT, refused
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["Chunk", "chunks", "samples_bytes"]

_MAX_CHUNKS = 1_000
_HEAD_BYTES = 8
_PLACEHOLDER = 0x7FFF_0000
"""Lengths from here on are left by programs that did not know it: 0x7FFFF000, 0xFFFFFFFF, ..."""
_JUNK_BYTES = 2**20
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")


class Chunk(NamedTuple):
    """Where a chunk's content is."""

    name: bytes
    at: int
    size: int
    """As its header states it."""


def chunks(file: BinaryIO, at: int, end: int, order: Literal["little", "big"]) -> Iterator[Chunk]:
    """The chunks from ``at`` to ``end``; ends where something else stands.

    Raises :class:`UnreadableAudio` for more than 1,000 of them.
    """
    for _ in range(_MAX_CHUNKS):
        if at + _HEAD_BYTES > end:
            return
        file.seek(at)
        head = file.read(_HEAD_BYTES)
        if not _is_name(head[:4]):
            return
        chunk = Chunk(head[:4], at + _HEAD_BYTES, int.from_bytes(head[4:], order))
        yield chunk
        at = chunk.at + chunk.size
        if chunk.size % 2:
            file.seek(at)
            ahead = file.read(5)
            at += _is_name(ahead[1:]) or not _is_name(ahead[:4])  # some writers do not pad
    raise refused(f"a file of more than {_MAX_CHUNKS} chunks")


def _is_name(name: bytes) -> bool:
    """Whether a chunk can be called so: four printable characters."""
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def samples_bytes(
    file: BinaryIO, data: Chunk, end: int, frame_bytes: int, order: Literal["little", "big"]
) -> int:
    """How many bytes of whole frames the chunk ``data`` holds.

    Raises :class:`UnreadableAudio` where the file ends earlier, or holds more sound after it.
    """
    available = end - data.at
    if data.size > available and data.size < _PLACEHOLDER:
        missing = (data.size - available) // frame_bytes
        if missing:
            raise UnreadableAudio(
                f"damaged: the file was cut short, {available} of {data.size} bytes of samples are "
                "there; copy or record it again"
            )
    if data.size > available or (not data.size and not _only_chunks(file, data.at, end, order)):
        return available - available % frame_bytes
    _check_tail(file, data.at + data.size, end, order)
    return data.size - data.size % frame_bytes


def _only_chunks(file: BinaryIO, at: int, end: int, order: Literal["little", "big"]) -> bool:
    """Whether well-formed chunks fill the file to its end: then an empty one is meant."""
    for chunk in chunks(file, at, end, order):
        at = chunk.at + chunk.size + chunk.size % 2
    return at in {end, end + 1}


def _check_tail(file: BinaryIO, at: int, end: int, order: Literal["little", "big"]) -> None:
    """Raise :class:`UnreadableAudio` where what follows the samples may be more of them."""
    at += at % 2 if at < end else 0
    for chunk in chunks(file, at, end, order):
        if chunk.name in {b"RIFF", b"RF64", b"FORM", b"data", b"SSND"}:
            raise refused("a file of several recordings, joined")
        if chunk.at + chunk.size > end:
            break
        at = chunk.at + chunk.size + chunk.size % 2
    if at >= end:
        return
    file.seek(at)
    rest = file.read(_JUNK_BYTES)
    if rest.startswith(_TAGS) or (at + len(rest) == end and not rest.strip(b"\0")):
        return
    if len(rest) < _HEAD_BYTES:
        return
    raise UnreadableAudio(
        f"damaged: {end - at} bytes follow the samples that its header accounts for, perhaps "
        f"more sound: {TO_CONVERT}"
    )
