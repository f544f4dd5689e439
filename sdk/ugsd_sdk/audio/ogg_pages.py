"""The pages of an Ogg file (RFC 3533 §6), checked before a decoder sees them.

After bytes that are not a page, a decoder searches for the next page and computes a checksum at
every position that could start one: a few megabytes can take minutes. So it is given only whole,
valid and consecutive pages.
"""

from __future__ import annotations

import zlib

from ugsd_sdk.errors import UnreadableAudio

__all__ = ["MAX_PAGES", "valid_pages"]

MAX_PAGES = 50_000
"""30 s of Opus with one page for each packet of 2.5 ms have 12,000 pages; usual encoders write far
fewer."""

_CAPTURE = b"OggS\0"
_HEAD_BYTES = 27
_CHECKSUM = slice(22, 26)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def valid_pages(data: bytes) -> bytes:
    """Return the whole pages of ``data``, without a truncated last page and without data after the
    last page, such as a tag or the padding of a memory card.

    Raises :class:`UnreadableAudio` if there are other data between pages, a page's checksum is
    wrong, or there are more than :data:`MAX_PAGES`.
    """
    at = 0
    for _ in range(MAX_PAGES):
        if at >= len(data):
            return data
        head = data[at : at + _HEAD_BYTES]
        if not head.startswith(_CAPTURE[: len(head)]):
            if at and data.find(_CAPTURE, at) < 0:
                return data[:at]
            raise _damaged(at)
        body = at + _HEAD_BYTES + (head[26] if len(head) == _HEAD_BYTES else 0)
        end = body + sum(data[at + _HEAD_BYTES : body])
        if len(head) < _HEAD_BYTES or end > len(data):
            return data[:at]
        rest = b"".join((head[: _CHECKSUM.start], bytes(4), data[at + _CHECKSUM.stop : end]))
        if _checksum(rest) != head[_CHECKSUM]:
            raise _damaged(at)
        at = end
    raise UnreadableAudio(
        f"an Ogg file with more than {MAX_PAGES} pages is not supported: cut it to 30 s"
    )


def _checksum(page: bytes) -> bytes:
    """Return the page's CRC-32, which has zlib's bits in reverse order and no inversions."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return mirrored.to_bytes(4, "big").translate(_REVERSED)


def _damaged(at: int) -> UnreadableAudio:
    return UnreadableAudio(
        f"damaged: no valid Ogg page at byte {at}: copy or record the file again"
    )
