"""Which encoded clips are opened, and how much of one is ever read.

libsndfile decodes about thirty formats, most of them old, rarely tested and printing what they
think. Only the :data:`FORMATS` below reach it: a clip's first bytes must be of one of them, and so
must the format and encoding that libsndfile found. Before anything is read, the clip must be no
larger than 30 s of sound can be in its format; while it is read, the number of reads is bounded
too, so that no arrangement of headers, tags and garbage costs more than a second or two.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ugsd_privacy.files.bounded_files import open_regular

from ugsd_sdk.audio.ogg_pages import sound_pages
from ugsd_sdk.errors import AudioTooLong, EmptyAudio, UnreadableAudio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FORMATS",
    "MAX_CHANNELS",
    "MAX_DURATION_S",
    "MAX_RATE",
    "ClipFormat",
    "EncodedClip",
    "MeteredFile",
    "check_found",
    "check_size",
    "format_of",
    "opened",
]

EncodedClip = str | os.PathLike[str] | bytes | bytearray | memoryview

MAX_DURATION_S = 30.0
MAX_CHANNELS = 8
MAX_RATE = 384_000

_TAGS_BYTES = 16 * 2**20
"""For pictures and other tags; one picture of an ID3 or FLAC tag is at most so large."""
_LARGEST_SAMPLES_BYTES = int(MAX_DURATION_S) * MAX_RATE * MAX_CHANNELS
_LOSSY_BYTES = int(MAX_DURATION_S) * MAX_CHANNELS * 510_000 // 8
"""Opus at its highest rate, 510 kbit/s, in each of 8 channels: 15.3 MB. MP3 ends at 320 kbit/s."""


class ClipFormat(NamedTuple):
    """A format that clips may have."""

    name: str
    """For people."""
    containers: frozenset[str]
    """libsndfile's names of it."""
    encodings: frozenset[str]
    """libsndfile's names of the encodings that are taken."""
    max_bytes: int
    """Largest file of 30 s."""
    sample_bytes: int
    """Of the widest sample; 0 where a file's size does not follow from its samples."""


_PCM = frozenset({"PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32"})
_FLOAT = frozenset({"FLOAT", "DOUBLE"})
_COMPANDED = frozenset({"ULAW", "ALAW"})

_WAV = ClipFormat(
    "WAV",
    frozenset({"WAV", "WAVEX", "RF64"}),
    _PCM | _FLOAT | _COMPANDED,
    8 * _LARGEST_SAMPLES_BYTES + _TAGS_BYTES,
    8,
)
_AIFF = _WAV._replace(name="AIFF", containers=frozenset({"AIFF"}))
_FLAC = ClipFormat("FLAC", frozenset({"FLAC"}), _PCM, 4 * _LARGEST_SAMPLES_BYTES + _TAGS_BYTES, 4)
_MP3 = ClipFormat(
    "MP3", frozenset({"MP3"}), frozenset({"MPEG_LAYER_III"}), _LOSSY_BYTES + _TAGS_BYTES, 0
)
_OGG = ClipFormat(
    "Ogg", frozenset({"OGG"}), frozenset({"VORBIS", "OPUS"}), _LOSSY_BYTES + _TAGS_BYTES, 0
)

FORMATS = "WAV, AIFF, FLAC, MP3, Ogg Vorbis or Ogg Opus"
"""As messages and documents name them. WAV may be RF64; WAV and AIFF hold PCM, float, mu-law or
A-law."""

_TO_CONVERT = f"give {FORMATS}, converted for example by `ffmpeg -i clip.m4a clip.wav`"

_HEAD_BYTES = 4096
_ID3, _ID3_HEAD_BYTES = b"ID3", 10
_MAX_ID3_TAGS = 4
_OGG_HEAD_BYTES = 27
_FLAC_MAGIC = b"fLaC"
_MAX_FLAC_BLOCKS = 128
_OGG_CODECS = (b"\x01vorbis", b"OpusHead")

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b".snd", "AU"),
    (0, b"dns.", "AU"),
    (0, b"caff", "CAF"),
    (0, b"RIFX", "RIFX, a big-endian WAV,"),
    (0, b"riff", "Wave64"),
    (0, b"\xf0\x7e", "SDS, a MIDI sample dump,"),
    (0, b"Creative Voice File", "VOC"),
    (0, b"NIST_1A", "NIST SPHERE"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (8, b"8SVX", "8SVX"),
)
"""Offset, bytes and name of formats that people may give, so that they read which one it is."""


class MeteredFile:
    """What libsndfile reads from: a file whose reads are counted and end at a limit.

    libsndfile calls it from C, where nothing can be raised: past its limit it reads as a file that
    has ended, and :attr:`is_exhausted` says so afterwards.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0
        # Measured on files of every format: at most 2.1 times the size when it is read whole, and
        # either fewer than 2,000 calls or fewer than one for each 3,800 bytes.
        self._bytes_left = 4 * size + 2**20
        self._calls_left = 20_000 + size // 1024

    @property
    def is_exhausted(self) -> bool:
        """Whether more was wanted than any sound file needs."""
        return self._calls_left < 0 or self._bytes_left < 0

    def readinto(self, buffer: memoryview) -> int:
        """As of a raw binary file."""
        wanted = min(len(buffer), max(self._size - self._at, 0))
        self._calls_left -= 1
        self._bytes_left -= wanted
        if self.is_exhausted or not wanted:
            return 0
        self._file.seek(self._at)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, count: int) -> bytes:
        """As of a raw binary file."""
        buffer = bytearray(max(min(count, self._size - self._at), 0))
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a raw binary file; a place before its start is its start."""
        self._calls_left -= 1
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        """As of a raw binary file."""
        return self._at


@contextmanager
def opened(clip: EncodedClip) -> Iterator[tuple[MeteredFile, ClipFormat, int]]:
    """The clip to read from, its format by its first bytes, and its size in bytes.

    Raises :class:`EmptyAudio`, :class:`UnreadableAudio` for what is no regular file or of no format
    that is taken, and :class:`AudioTooLong` for one that is larger than 30 s can be.
    """
    if isinstance(clip, (bytes, bytearray, memoryview)):
        if not memoryview(clip).nbytes:
            raise EmptyAudio("no bytes were given: is the upload complete?")
        data = _checked_bytes(clip)
        yield _checked(io.BytesIO(data), len(data))
        return
    # A path is opened here, since libsndfile takes no name that is not UTF-8.
    name = os.fsdecode(clip)
    try:
        file = open_regular(name)
    except OSError as error:
        raise UnreadableAudio(
            f"{name!r} cannot be opened: {error.strerror}: check the path and its permissions"
        ) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise EmptyAudio(f"{name!r} is empty: record again")
        yield _checked(file, size)


def format_of(file: BinaryIO) -> ClipFormat:
    """The format by the file's first bytes. Raises :class:`UnreadableAudio` for any other."""
    head = file.read(_HEAD_BYTES)
    after_tags = _skip_id3(file, head)
    if after_tags is not head:
        if _is_mp3(after_tags):
            return _MP3
        raise _refused("an ID3 tag without MP3 after it")
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return _AIFF
    if head[:4] == _FLAC_MAGIC:
        return _FLAC
    if head[:4] == b"OggS":
        packet = head[_OGG_HEAD_BYTES + (head[26] if len(head) > 26 else 0) :]
        if packet.startswith(_OGG_CODECS):
            return _OGG
        raise _refused("Ogg that holds neither Vorbis nor Opus")
    if _is_mp3(head):
        return _MP3
    names = (name for at, magic, name in _OTHERS if head[at : at + len(magic)] == magic)
    raise _refused(next(names, None))


def check_found(found: ClipFormat, container: str, encoding: str) -> None:
    """Raise :class:`UnreadableAudio` where libsndfile took the clip for something else."""
    if container not in found.containers or encoding not in found.encodings:
        raise _refused(f"{found.name} with {encoding} inside")


def check_size(found: ClipFormat, size: int, rate: int, channels: int) -> None:
    """Raise :class:`AudioTooLong` where 30 s of so many samples would be smaller."""
    if found.sample_bytes:
        longest = int(MAX_DURATION_S * rate) * channels * found.sample_bytes
        _check_size(size, longest + _TAGS_BYTES, found)


def _checked(file: BinaryIO, size: int) -> tuple[MeteredFile, ClipFormat, int]:
    found = format_of(file)
    _check_size(size, found.max_bytes, found)
    if found is _OGG:
        file.seek(0)
        pages = sound_pages(file.read(size))
        return MeteredFile(io.BytesIO(pages), len(pages)), found, len(pages)
    if found is _FLAC:
        _check_flac_blocks(file)
    return MeteredFile(file, size), found, size


def _check_flac_blocks(file: BinaryIO) -> None:
    """Raise :class:`UnreadableAudio` for more metadata than any writer makes (RFC 9639 §8)."""
    at = len(_FLAC_MAGIC)
    for _ in range(_MAX_FLAC_BLOCKS):
        file.seek(at)
        head = file.read(4)
        at += 4 + int.from_bytes(head[1:], "big")
        if len(head) < 4 or head[0] & 0x80:
            break
    else:
        raise _refused(f"FLAC with more than {_MAX_FLAC_BLOCKS} blocks of metadata")
    if at > _TAGS_BYTES:
        raise _refused(f"FLAC with more than {_TAGS_BYTES} bytes of metadata")


def _checked_bytes(clip: bytes | bytearray | memoryview) -> bytes:
    """Not copied before its size was looked at; ``bytes`` are not copied at all."""
    if isinstance(clip, bytes):
        return clip
    view = memoryview(clip)
    _check_size(view.nbytes, _WAV.max_bytes, _WAV)
    return bytes(view)


def _check_size(size: int, most: int, found: ClipFormat) -> None:
    if size > most:
        raise AudioTooLong(
            f"the file has {size / 1e6:.0f} MB, and {MAX_DURATION_S:.0f} s of {found.name} at most "
            f"{most / 1e6:.0f} MB: cut it, for example by `ffmpeg -ss 0 -t 30 -i long.wav clip.wav`"
        )


def _skip_id3(file: BinaryIO, head: bytes) -> bytes:
    """What comes after ID3 tags; ``head`` itself where there is none."""
    at = 0
    for _ in range(_MAX_ID3_TAGS):
        if head[:3] != _ID3 or len(head) < _ID3_HEAD_BYTES:
            break
        length = 0
        for byte in head[6:_ID3_HEAD_BYTES]:
            length = length << 7 | byte & 0x7F
        has_footer = bool(head[5] & 0x10)
        at += _ID3_HEAD_BYTES * (1 + has_footer) + length
        file.seek(at)
        head = file.read(_HEAD_BYTES)
    return head


def _is_mp3(head: bytes) -> bool:
    """Whether an MPEG audio frame of layer III starts here (ISO 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    is_reserved_version, is_layer_3 = head[1] & 0x18 == 0x08, head[1] & 0x06 == 0x02
    return is_layer_3 and not is_reserved_version


def _refused(what: str | None) -> UnreadableAudio:
    if what is None:
        return UnreadableAudio(f"not audio of a form that is read here, or damaged: {_TO_CONVERT}")
    return UnreadableAudio(f"{what} is not read: {_TO_CONVERT}")
