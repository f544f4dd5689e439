"""Which formats of encoded clips are read, and how their first bytes distinguish them.

libsndfile decodes about thirty formats and FFmpeg hundreds, most of them old and rarely tested.
Only the documented ones reach either; names of files do not count.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from ugsd_sdk.audio.containers.id3_tags import ID3, ID3_HEAD_BYTES, tag_bytes
from ugsd_sdk.errors import AudioTooLong, UnreadableAudio

__all__ = [
    "ADTS",
    "AIFF",
    "FLAC",
    "FLAC_MAGIC",
    "FORMATS",
    "MATROSKA",
    "MEDIA_FORMATS",
    "MP3",
    "MP4",
    "OGG",
    "OGG_OTHER",
    "TAGS_BYTES",
    "TO_CONVERT",
    "WAV",
    "ClipFormat",
    "check_size",
    "format_of",
    "refused",
]

TAGS_BYTES = 16 * 2**20
"""The room for pictures and other tags; one picture of an ID3 or FLAC tag is at most as large."""
_SAMPLES_BYTES = 16 * 2**30
"""12 h of stereo at 48 kHz in 32 bits have 16.6 GB."""
_LOSSY_BYTES = 2 * 2**30
"""12 h at 320 kbit/s, the most that MP3 can have, have 1.7 GB."""


class ClipFormat(NamedTuple):
    """A format that clips may have."""

    name: str
    """The name that messages use."""
    max_bytes: int
    """The largest file that is opened."""
    containers: frozenset[str] = frozenset()
    """libsndfile's names of it; none where something else decodes it."""
    encodings: frozenset[str] = frozenset()
    """libsndfile's names of the encodings that are taken."""
    demuxer: str = ""
    """FFmpeg's name of it, where the extra ``media`` decodes it."""


_PCM = frozenset({"PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32"})

WAV = ClipFormat("WAV", _SAMPLES_BYTES)
AIFF = ClipFormat(
    "AIFF", _SAMPLES_BYTES, frozenset({"AIFF"}), _PCM | {"FLOAT", "DOUBLE", "ULAW", "ALAW"}
)
FLAC = ClipFormat("FLAC", _SAMPLES_BYTES, frozenset({"FLAC"}), _PCM)
MP3 = ClipFormat("MP3", _LOSSY_BYTES, frozenset({"MP3"}), frozenset({"MPEG_LAYER_III"}))
OGG = ClipFormat("Ogg", _LOSSY_BYTES, frozenset({"OGG"}), frozenset({"VORBIS", "OPUS"}))
MP4 = ClipFormat("MP4 or M4A", _LOSSY_BYTES, demuxer="mov")
MATROSKA = ClipFormat("WebM or Matroska", _LOSSY_BYTES, demuxer="matroska")
ADTS = ClipFormat("AAC in ADTS", _LOSSY_BYTES, demuxer="aac")
OGG_OTHER = ClipFormat("Ogg that holds more than Vorbis or Opus", _LOSSY_BYTES, demuxer="ogg")

FORMATS = "WAV, AIFF, FLAC, MP3, Ogg Vorbis or Ogg Opus"
"""The names that messages and documents use. WAV may be RF64; WAV and AIFF hold PCM, float, mu-law
or A-law."""
MEDIA_FORMATS = "M4A, MP4, AAC, WebM or Matroska"
"""The names of what the extra ``media`` reads."""

TO_CONVERT = f"give {FORMATS}, converted for example by `ffmpeg -i clip.m4a clip.wav`"

_HEAD_BYTES = 4096
_MAX_ID3_TAGS = 4
_MAX_PADDING_BYTES = 2**20
_OGG_HEAD_BYTES = 27
FLAC_MAGIC = b"fLaC"
_OGG_CODECS = (b"\x01vorbis", b"OpusHead")

_MAGICS = {
    b"RIFF": WAV,
    b"RF64": WAV,
    b"FORM": AIFF,
    FLAC_MAGIC: FLAC,
    b"OggS": OGG,
    b"\x1a\x45\xdf\xa3": MATROSKA,
}
_FORM_TYPES = {WAV: {b"WAVE"}, AIFF: {b"AIFF", b"AIFC"}}
_MP4_BOXES = (b"ftyp", b"moov", b"wide")
"""The latter two begin QuickTime files of before 2001."""

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
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
    (8, b"AVI ", "AVI"),
    (0, b"FLV", "FLV"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7fMPC", "Musepack"),
    (0, b"MPCK", "Musepack"),
    (0, b"DSD ", "DSD"),
    (0, b"\0\0\1\xba", "MPEG program stream"),
)
"""Offset, bytes and name of formats that people may give, so that they read which one it is."""


def format_of(file: BinaryIO) -> tuple[ClipFormat, int]:
    """The format by the file's first bytes, and where it starts, which is after ID3 tags: some
    programs put one in front of any format.

    No decoder sees a tag: libmpg123 prints a line about each odd frame of it, a million of them in
    a large tag, and waits where nobody reads its standard error. What MP3 needs for playing without
    gaps is in the first audio frame. Raises :class:`UnreadableAudio` for other formats.
    """
    file.seek(0)
    head, start = _skip_id3(file, file.read(_HEAD_BYTES))
    return _format_of_head(head), start


def check_size(found: ClipFormat, size: int) -> None:
    """Raise :class:`AudioTooLong` for a file that is larger than 12 h of sound."""
    if size > found.max_bytes:
        raise AudioTooLong(
            f"the file has {size / 1e6:.0f} MB, and 12 h of {found.name} have at most "
            f"{found.max_bytes / 1e6:.0f} MB: cut it, for example by "
            "`ffmpeg -i long.wav -f segment -segment_time 3600 part%03d.wav`"
        )


def refused(what: str | None) -> UnreadableAudio:
    """The error for a format that is not read: ``what`` is its name, ``None`` where unknown."""
    if what is None:
        return UnreadableAudio(
            f"this is not audio of a format that is read here, or it is damaged: {TO_CONVERT}"
        )
    return UnreadableAudio(f"{what} is not read: {TO_CONVERT}")


def _format_of_head(head: bytes) -> ClipFormat:
    found = _MAGICS.get(head[:4])
    if found is not None and head[8:12] in _FORM_TYPES.get(found, {head[8:12]}):
        if found is not OGG:
            return found
        packet = head[_OGG_HEAD_BYTES + (head[26] if len(head) > 26 else 0) :]
        return OGG if packet.startswith(_OGG_CODECS) else OGG_OTHER
    if head[4:8] in _MP4_BOXES:
        return MP4
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _format_of_sync(head)
    names = (name for at, magic, name in _OTHERS if head[at : at + len(magic)] == magic)
    raise refused(next(names, None))


def _format_of_sync(head: bytes) -> ClipFormat:
    """MP3 or ADTS, which begin alike (ISO 11172-3, 2.4.1.3; ISO 13818-7, 6.2)."""
    is_reserved_version, layer = head[1] & 0x18 == 0x08, head[1] & 0x06
    if head[1] & 0xF6 == 0xF0:
        return ADTS
    if is_reserved_version or layer == 0:
        raise refused(None)
    if layer != 0x02:
        raise refused("MPEG audio of layer I or II")
    return MP3


def _skip_id3(file: BinaryIO, head: bytes) -> tuple[bytes, int]:
    """The first bytes after ID3 tags, and where they are; ``head`` and 0 where there is no tag."""
    at = 0
    for _ in range(_MAX_ID3_TAGS):
        if head[:3] != ID3 or len(head) < ID3_HEAD_BYTES:
            break
        at += tag_bytes(head[:ID3_HEAD_BYTES])
        file.seek(at)
        head = file.read(_HEAD_BYTES)
    if at and head[:1] == b"\0" and head[4:8] != b"ftyp":  # some writers pad after the tag
        file.seek(at)
        padded = file.read(_MAX_PADDING_BYTES)
        at += len(padded) - len(padded.lstrip(b"\0"))
        file.seek(at)
        head = file.read(_HEAD_BYTES)
    return head, at
