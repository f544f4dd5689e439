"""Encoded clips: what is checked before a decoder sees them, and which decoder does.

A clip's first bytes must be of a documented format, and so must the format and encoding that the
decoder finds. A decoder never searches: WAV, AIFF and FLAC have bounded headers, and Ogg, MP3 and
AAC are given as whole pages and frames, so that no arrangement of headers, tags and garbage costs
more than reading it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from ugsd_sdk.audio.clip_formats import (
    ADTS,
    AIFF,
    FLAC,
    MP3,
    OGG,
    OGG_OTHER,
    TO_CONVERT,
    WAV,
    ClipFormat,
    check_size,
    format_of,
)
from ugsd_sdk.audio.clip_sources import EncodedClip, anonymous_file, descriptor, opened, size_of
from ugsd_sdk.audio.containers.adts_frames import adts_frames
from ugsd_sdk.audio.containers.aiff_chunks import aiff_frames
from ugsd_sdk.audio.containers.flac_blocks import check_flac
from ugsd_sdk.audio.containers.media_boxes import check_boxes
from ugsd_sdk.audio.containers.mp3_frames import write_counted_frames
from ugsd_sdk.audio.containers.ogg_pages import Link, links
from ugsd_sdk.audio.segments import Segment
from ugsd_sdk.audio.wav_samples import wav_segment
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["opened_segments"]

_COPY_BYTES = 2**20


@contextlib.contextmanager
def opened_segments(clip: EncodedClip) -> Iterator[Sequence[Segment]]:
    """The clip's segments, which can be read as long as the context lasts.

    Raises an :class:`~ugsd_sdk.errors.AudioError` for a clip that cannot be opened, and for one
    that need not be decoded to see that it is damaged.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(opened(clip))
        size = size_of(file)
        found, start = format_of(file)
        check_size(found, size)
        if found is WAV:
            yield [wav_segment(file, start, size)]
        elif found is OGG:
            yield _ogg_segments(file, start, size, stack)
        elif found.demuxer:
            yield [_media_segment(file, start, size, found, stack)]
        else:
            yield [_segment(file, start, size, found, stack)]


def _segment(
    file: BinaryIO, start: int, end: int, found: ClipFormat, stack: contextlib.ExitStack
) -> Segment:
    from ugsd_sdk.audio.libsndfile_decoder import libsndfile_segment  # noqa: PLC0415  # not for WAV

    frames = None
    if found is FLAC:
        check_flac(file, start, end)
    elif found is AIFF:
        frames = aiff_frames(file, start, end)
    elif found is MP3:
        copy = stack.enter_context(anonymous_file(end - start))
        write_counted_frames(file, start, end, copy)
        file, start = copy, 0
    return libsndfile_segment(descriptor(file, start, stack), found, frames=frames)


def _ogg_segments(
    file: BinaryIO, start: int, end: int, stack: contextlib.ExitStack
) -> Sequence[Segment]:
    from ugsd_sdk.audio.libsndfile_decoder import libsndfile_segment  # noqa: PLC0415  # not for WAV

    found = links(file, start, end)
    if found is None:
        return [_media_segment(file, start, end, OGG_OTHER, stack)]
    segments = []
    for link in found:
        if link == Link(0, end):
            copy, at = file, 0
        else:
            copy, at = stack.enter_context(anonymous_file(link.end - link.start)), 0
            _copy(file, link, copy)
        segments.append(libsndfile_segment(descriptor(copy, at, stack), OGG))
    return segments


def _media_segment(
    file: BinaryIO, start: int, end: int, found: ClipFormat, stack: contextlib.ExitStack
) -> Segment:
    try:
        from ugsd_sdk.audio.media_decoder import media_segment  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise UnreadableAudio(
            f"{found.name} is read with PyAV: `pip install ugsd[media]`; or {TO_CONVERT}"
        ) from error
    if found is ADTS:
        copy = stack.enter_context(anonymous_file(end - start))
        for frame in adts_frames(file, start, end):
            copy.write(frame)
        copy.flush()
        file, start = copy, 0
    else:
        check_boxes(file, start, end, found)
    return media_segment(descriptor(file, start, stack), found)


def _copy(file: BinaryIO, link: Link, copy: BinaryIO) -> None:
    file.seek(link.start)
    remaining = link.end - link.start
    while remaining and (data := file.read(min(remaining, _COPY_BYTES))):
        copy.write(data)
        remaining -= len(data)
    copy.flush()
