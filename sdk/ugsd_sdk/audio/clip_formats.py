"""The formats of encoded clips, and their detection by the first bytes.

libsndfile decodes about thirty formats; many decoders are old, rarely tested, and print messages.
Only the :data:`FORMATS` reach it.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from ugsd_sdk.audio.id3_tags import tag_bytes
from ugsd_sdk.errors import UnreadableAudio

__all__ = [
    "FLAC",
    "FLAC_MAGIC",
    "FORMATS",
    "MAX_CHANNELS",
    "MAX_DURATION_S",
    "MAX_RATE",
    "OGG",
    "TAGS_BYTES",
    "WAV",
    "ClipFormat",
    "check_found",
    "format_of",
    "unsupported",
]

MAX_DURATION_S = 30.0
MAX_CHANNELS = 8
MAX_RATE = 384_000

TAGS_BYTES = 16 * 2**20
"""Allowance for pictures and other tags; the largest picture of an ID3 or FLAC tag fits in it."""
_LARGEST_SAMPLES_BYTES = int(MAX_DURATION_S) * MAX_RATE * MAX_CHANNELS
_LOSSY_BYTES = int(MAX_DURATION_S) * MAX_CHANNELS * 510_000 // 8
"""Opus at its highest rate, 510 kbit/s, in each of 8 channels: 15.3 MB. MP3 ends at 320 kbit/s."""


class ClipFormat(NamedTuple):
    """A format of clips that is accepted."""

    name: str
    """The name in messages."""
    containers: frozenset[str]
    """libsndfile's names of the container."""
    encodings: frozenset[str]
    """libsndfile's names of the accepted encodings."""
    max_bytes: int
    """Size of the largest file of 30 s."""
    sample_bytes: int
    """Size of the widest sample; 0 if a file's size does not follow from the number of samples."""


_PCM = frozenset({"PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32"})
_FLOAT = frozenset({"FLOAT", "DOUBLE"})
_COMPANDED = frozenset({"ULAW", "ALAW"})

WAV = ClipFormat(
    "WAV",
    frozenset({"WAV", "WAVEX", "RF64"}),
    _PCM | _FLOAT | _COMPANDED,
    8 * _LARGEST_SAMPLES_BYTES + TAGS_BYTES,
    8,
)
AIFF = WAV._replace(name="AIFF", containers=frozenset({"AIFF"}))
FLAC = ClipFormat("FLAC", frozenset({"FLAC"}), _PCM, 4 * _LARGEST_SAMPLES_BYTES + TAGS_BYTES, 4)
MP3 = ClipFormat(
    "MP3", frozenset({"MP3"}), frozenset({"MPEG_LAYER_III"}), _LOSSY_BYTES + TAGS_BYTES, 0
)
OGG = ClipFormat(
    "Ogg", frozenset({"OGG"}), frozenset({"VORBIS", "OPUS"}), _LOSSY_BYTES + TAGS_BYTES, 0
)

FORMATS = "WAV, AIFF, FLAC, MP3, Ogg Vorbis or Ogg Opus"
"""The accepted formats, for messages and documents. WAV includes RF64; WAV and AIFF hold PCM,
float, mu-law or A-law."""

_TO_CONVERT = f"give {FORMATS}, converted for example with `ffmpeg -i clip.m4a clip.wav`"

_HEAD_BYTES = 4096
_ID3, _ID3_HEAD_BYTES = b"ID3", 10
_MAX_ID3_TAGS = 4
_OGG_HEAD_BYTES = 27
FLAC_MAGIC = b"fLaC"
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
"""Offset, bytes and name of other formats that people may use, so that the error can name them."""


def format_of(file: BinaryIO) -> tuple[ClipFormat, int]:
    """Return the format by the file's first bytes, and the position where it starts, after any ID3
    tags: some programs put them in front of any format.

    The decoder never sees a tag. libmpg123 prints a line about each invalid frame of a tag, which
    may be a million lines, and blocks if nobody reads its standard error. What MP3 needs for
    gapless playback is in the first audio frame. Raises :class:`UnreadableAudio` for other formats.
    """
    head, start = _skip_id3(file, file.read(_HEAD_BYTES))
    return _format_of_head(head), start


def _format_of_head(head: bytes) -> ClipFormat:
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return AIFF
    if head[:4] == FLAC_MAGIC:
        return FLAC
    if head[:4] == b"OggS":
        packet = head[_OGG_HEAD_BYTES + (head[26] if len(head) > 26 else 0) :]
        if packet.startswith(_OGG_CODECS):
            return OGG
        raise unsupported("Ogg with neither Vorbis nor Opus")
    if _is_mp3(head):
        return MP3
    names = (name for at, magic, name in _OTHERS if head[at : at + len(magic)] == magic)
    raise unsupported(next(names, None))


def check_found(found: ClipFormat, container: str, encoding: str) -> None:
    """Raise :class:`UnreadableAudio` if libsndfile detected another format or encoding."""
    if container not in found.containers or encoding not in found.encodings:
        kinds = ", ".join(sorted(found.encodings))
        raise unsupported(f"{found.name} with {encoding} samples (instead of {kinds})")


def unsupported(what: str | None) -> UnreadableAudio:
    """Return the error for an unsupported format; ``what`` is its name, ``None`` if unknown."""
    if what is None:
        return UnreadableAudio(f"not a supported audio format, or damaged: {_TO_CONVERT}")
    return UnreadableAudio(f"{what} is not supported: {_TO_CONVERT}")


def _skip_id3(file: BinaryIO, head: bytes) -> tuple[bytes, int]:
    """Return the first bytes after ID3 tags and their position; ``head`` and 0 without a tag."""
    at = 0
    for _ in range(_MAX_ID3_TAGS):
        if head[:3] != _ID3 or len(head) < _ID3_HEAD_BYTES:
            break
        at += tag_bytes(head[:_ID3_HEAD_BYTES])
        file.seek(at)
        head = file.read(_HEAD_BYTES)
    return head, at


def _is_mp3(head: bytes) -> bool:
    """Whether the bytes start with an MPEG audio frame of layer III (ISO 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    is_reserved_version, is_layer_3 = head[1] & 0x18 == 0x08, head[1] & 0x06 == 0x02
    return is_layer_3 and not is_reserved_version
