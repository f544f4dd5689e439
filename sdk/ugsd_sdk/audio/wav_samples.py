"""WAV files (RIFF and RF64), decoded without libsndfile: their samples are plain arrays.

Formats of samples are those of Microsoft's multimedia registry (RFC 2361): PCM of 8 to 32 bits,
IEEE float, and the two companded forms of ITU-T G.711.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.audio.clip_formats import refused
from ugsd_sdk.audio.containers.iff_chunks import Chunk, chunks, samples_bytes
from ugsd_sdk.audio.segments import BLOCK_FRAMES, Block, Float32, Segment
from ugsd_sdk.errors import EmptyAudio, UnreadableAudio

__all__ = ["wav_segment"]

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_NAMES = {
    2: "ADPCM",
    0x11: "IMA ADPCM",
    0x31: "GSM 6.10",
    0x40: "G.721",
    0x50: "MPEG",
    0x55: "MP3",
    0xFF: "AAC",
}
_UNKNOWN = 0xFFFF_FFFF
_Decode = Callable[[bytes], Block]


def wav_segment(file: BinaryIO, start: int, end: int) -> Segment:
    """The samples of the WAV file from ``start`` to ``end``.

    Raises :class:`UnreadableAudio` for other samples than PCM, float, mu-law and A-law, and for a
    file that holds fewer or more of them than its header states.
    """
    form, long_size, data = None, None, None
    for chunk in chunks(file, start + 12, end, "little"):
        if chunk.name == b"ds64" and chunk.size >= 16:
            file.seek(chunk.at + 8)
            long_size = int.from_bytes(file.read(8), "little")
        elif chunk.name == b"fmt " and form is None:
            file.seek(chunk.at)
            form = file.read(min(chunk.size, 40))
        elif chunk.name == b"data":
            size = long_size if chunk.size == _UNKNOWN and long_size is not None else chunk.size
            data = Chunk(chunk.name, chunk.at, size)
            break
    if form is None or data is None:
        raise UnreadableAudio(
            "damaged: the WAV file ends before its samples begin; copy or record it again"
        )
    rate, channels, frame_bytes, decode = _form(form)
    size = samples_bytes(file, data, end, frame_bytes, "little")
    if not size:
        raise EmptyAudio("the WAV file holds no samples: record again")

    def read() -> Iterator[Block]:
        file.seek(data.at)
        remaining = size
        while remaining:
            encoded = file.read(min(remaining, BLOCK_FRAMES * frame_bytes))
            if not encoded or len(encoded) % frame_bytes:
                raise UnreadableAudio("the file became shorter while it was read: read it again")
            remaining -= len(encoded)
            yield decode(encoded).reshape(-1, channels)

    return Segment(rate, channels, read, size // frame_bytes)


def _form(form: bytes) -> tuple[int, int, int, _Decode]:
    """Rate, channels, bytes of a frame, and what decodes frames, by the chunk ``fmt``."""
    if len(form) < 16:
        raise UnreadableAudio("damaged: the WAV header is too short; copy or record it again")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    if not channels or not frame_bytes or frame_bytes % channels:
        # Some writers leave the size of a frame out.
        frame_bytes = channels * -(-bits // 8)
    width = frame_bytes // channels if channels else 0
    decode = _DECODERS.get((tag, width))
    if decode is None or bits > 8 * width:
        name = _NAMES.get(tag, f"{bits}-bit samples of type {tag}")
        raise refused(f"WAV with {name} (instead of PCM, float, mu-law or A-law)")
    return rate, channels, frame_bytes, decode


def _scaled(samples: NDArray[np.signedinteger], bits: int) -> Float32:
    scale = np.float32(2.0**-bits)
    return np.asarray(np.multiply(samples, scale, dtype=np.float32, casting="unsafe"))


def _pcm8(data: bytes) -> Float32:
    return _scaled(np.frombuffer(data, np.uint8).astype(np.int16) - 128, 7)


def _pcm16(data: bytes) -> Float32:
    return _scaled(np.frombuffer(data, "<i2"), 15)


def _pcm24(data: bytes) -> Float32:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return _scaled(wide.view("<i4")[:, 0], 31)


def _pcm32(data: bytes) -> Float32:
    return _scaled(np.frombuffer(data, "<i4"), 31)


def _float32(data: bytes) -> Float32:
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)


def _float64(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<f8").astype(np.float64, copy=False)


def _ulaw(data: bytes) -> Float32:
    return _ULAW_TABLE[np.frombuffer(data, np.uint8)]


def _alaw(data: bytes) -> Float32:
    return _ALAW_TABLE[np.frombuffer(data, np.uint8)]


def _ulaw_table() -> Float32:
    """ITU-T G.711, table 2: sign, 3 bits of exponent and 4 of mantissa, all inverted."""
    code = ~np.arange(256) & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return (np.where(code & 0x80, -size, size) / 2**15).astype(np.float32)


def _alaw_table() -> Float32:
    """ITU-T G.711, table 1, every second bit inverted."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, (code & 0x0F) << 4
    size = np.where(exponent, mantissa + 0x108 << np.maximum(exponent - 1, 0), mantissa + 8)
    return (np.where(code & 0x80, size, -size) / 2**15).astype(np.float32)


_ULAW_TABLE, _ALAW_TABLE = _ulaw_table(), _alaw_table()
_DECODERS: dict[tuple[int, int], _Decode] = {
    (_PCM, 1): _pcm8,
    (_PCM, 2): _pcm16,
    (_PCM, 3): _pcm24,
    (_PCM, 4): _pcm32,
    (_FLOAT, 4): _float32,
    (_FLOAT, 8): _float64,
    (_ALAW, 1): _alaw,
    (_ULAW, 1): _ulaw,
}
