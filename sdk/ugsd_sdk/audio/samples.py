"""A clip in any usual form -> mono float32 at the drafter's sample rate, in pieces of 30 s.

Files are WAV (also RF64) and AIFF with PCM, float, mu-law or A-law samples, FLAC, MP3, Ogg Vorbis
and Ogg Opus; with the extra ``media`` also M4A, MP4, AAC, WebM and Matroska. Samples are arrays,
tensors, series or lists. What is promised:

* All of a recording is read, or an :class:`~ugsd_sdk.errors.AudioError` says why not and what to do
  about it. Nothing of it is left out in silence.
* Whatever its length, up to 12 h, only the piece in hand is in memory, if it comes from a file.
* A recording longer than a piece is decoded twice: first to see that it is sound and to measure its
  channels and level, then to hand it on. One more time is needed if channels cancel or are offset.
* Channels are averaged. One that is silent beside the others is left out, and one that would cancel
  another is turned over. A constant offset is removed.
* Nothing is cut off: a recording that goes beyond [-1, 1], before or after it is resampled, is
  scaled down as a whole, so that its loudest sample is 1.
* Ctrl-C is a :class:`KeyboardInterrupt`; reading needs no executable memory.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
import soxr
from numpy.typing import ArrayLike

from ugsd_sdk.audio.array_samples import array_segment
from ugsd_sdk.audio.clip_files import opened_segments
from ugsd_sdk.audio.clip_sources import EncodedClip, is_encoded
from ugsd_sdk.audio.mixdown import ChannelStatistics, Mix
from ugsd_sdk.audio.segments import MAX_DURATION_S, Block, Float32, Segment, check_duration
from ugsd_sdk.calls.call import current_call
from ugsd_sdk.errors import AudioTooShort, BadSamples, CallEnded, EmptyAudio, UnreadableAudio

__all__ = [
    "MAX_DURATION_S",
    "MIN_DURATION_S",
    "PIECE_S",
    "Clip",
    "MeasuredPart",
    "cut_pieces",
    "disk_faults",
    "measured_parts",
    "opened_recording",
    "read_clip",
    "read_pieces",
    "scaled_blocks",
]

Clip: TypeAlias = EncodedClip | ArrayLike
"""A path, the bytes of an audio file, an open file, or samples: an array (n,), (n, channels) or
(channels, n), a tensor, a series or a list."""

MIN_DURATION_S = 0.1
PIECE_S = 30.0
_JOIN_S = 1.0
"""A last piece that is shorter than this is joined to the one before."""
_SAFE_PEAK = 0.5
"""Resampling makes no sound twice as loud: below this its result need not be measured."""


def read_pieces(
    clip: Clip,
    sample_rate: float | None = None,
    *,
    target_rate: int = 16_000,
    piece_s: float = PIECE_S,
) -> Iterator[Float32]:
    """Yield the recording as mono pieces (n,) float32 in [-1, 1] at ``target_rate``, in order.

    A piece has ``piece_s`` seconds, and the last one at most 1 s more: what would be a shorter
    piece is joined to it. ``sample_rate`` in Hz is needed with samples, and refused with files,
    which name their own. A file must not change meanwhile.

    Raises an :class:`~ugsd_sdk.errors.AudioError`, for most damage before the first piece, and
    nothing else, except for a :class:`~ugsd_sdk.errors.CallEnded` of the current call.
    """
    if not (math.isfinite(piece_s) and piece_s > 0 and target_rate > 0):
        raise ValueError("piece_s and target_rate are above 0")
    with disk_faults(), opened_recording(clip, sample_rate) as segments:
        parts = measured_parts(segments, piece_s + _JOIN_S, target_rate)
        yield from cut_pieces(scaled_blocks(parts, target_rate), piece_s, target_rate)


def read_clip(
    clip: Clip, sample_rate: float | None = None, *, target_rate: int = 16_000
) -> Float32:
    """All of the recording as mono (n,) float32 in [-1, 1] at ``target_rate``: the pieces of
    :func:`read_pieces`, joined. Raises an :class:`~ugsd_sdk.errors.AudioError`."""
    pieces = list(read_pieces(clip, sample_rate, target_rate=target_rate))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@contextlib.contextmanager
def opened_recording(clip: Clip, sample_rate: float | None) -> Iterator[Sequence[Segment]]:
    """The segments of a recording, which can be read as long as the context lasts. Raises an
    :class:`~ugsd_sdk.errors.AudioError`."""
    if not is_encoded(clip):
        yield [array_segment(clip, sample_rate)]
        return
    if sample_rate is not None:
        raise BadSamples(
            "sample_rate goes with samples; a file names its own: leave it out, or make an array "
            "of raw bytes by np.frombuffer(data, np.int16)"
        )
    with opened_segments(clip) as segments:  # type: ignore[arg-type]
        yield segments


@contextlib.contextmanager
def disk_faults() -> Iterator[None]:
    """What the system reports while a recording is read becomes :class:`UnreadableAudio`."""
    try:
        yield
    except CallEnded:  # one of them is an OSError, as every TimeoutError is
        raise
    except OSError as error:
        raise UnreadableAudio(
            f"the clip cannot be read: {error.strerror or type(error).__name__}: check that its "
            "disk works and that the folder for temporary files has room"
        ) from error


class MeasuredPart(NamedTuple):
    """A segment, and what was learned of it while it was decoded for the first time."""

    segment: Segment
    mix: Mix
    peak: float | None
    """The largest absolute sample at the target rate, if it was measured."""
    duration_s: float
    statistics: ChannelStatistics


def measured_parts(
    segments: Sequence[Segment], kept_s: float, target_rate: int
) -> list[MeasuredPart]:
    """The parts that hold sound, decoded once. A segment that was decoded to its end within
    ``kept_s`` of the recording is not decoded again."""
    parts, duration_s = [], 0.0
    for segment in segments:
        channels = ChannelStatistics(segment)
        kept: list[Block] | None = []
        meter = _PeakMeter(segment, target_rate)
        for block in _read(segment):
            channels.add(block, duration_s)
            read_s = duration_s + channels.frames / segment.rate
            check_duration(read_s)
            if kept is not None:
                kept.append(block)
            if read_s > kept_s:
                meter.add(kept if kept is not None else [block])
                kept = None
        duration_s += channels.frames / segment.rate
        if channels.frames:
            parts.append(_part(segment, channels, kept, meter))
    if not parts:
        raise EmptyAudio("the clip holds no samples: record again")
    if duration_s < MIN_DURATION_S:
        raise AudioTooShort(
            f"the clip lasts {1000 * duration_s:.0f} ms: give at least "
            f"{1000 * MIN_DURATION_S:.0f} ms"
        )
    return parts


def _part(
    segment: Segment,
    channels: ChannelStatistics,
    kept: list[Block] | None,
    meter: _PeakMeter,
) -> MeasuredPart:
    mix, duration_s = channels.mix(), channels.frames / segment.rate
    if kept is not None:
        held = replace(segment, read=lambda: iter(kept))
        return MeasuredPart(held, mix, None, duration_s, channels)
    peak = meter.peak() if mix.is_plain else None
    return MeasuredPart(segment, mix, peak, duration_s, channels)


class _PeakMeter:
    """Measures how loud a segment becomes at the target rate if its channels are averaged, as those
    of nearly all recordings are: then it need not be decoded once more to see that."""

    def __init__(self, segment: Segment, target_rate: int) -> None:
        self._mix = Mix.plain(segment.channels)
        self._stream: soxr.ResampleStream | None = None
        self._peak = 0.0
        if segment.rate != target_rate:
            self._stream = soxr.ResampleStream(segment.rate, target_rate, 1, dtype="float32")

    def add(self, blocks: list[Block]) -> None:
        """Measure more of the segment."""
        for block in blocks:
            self._measure(self._mix.of(block), is_last=False)

    def peak(self) -> float:
        """The largest absolute sample; nothing can be added any more."""
        self._measure(np.zeros(0, np.float32), is_last=True)
        return self._peak

    def _measure(self, block: Float32, *, is_last: bool) -> None:
        if self._stream is not None:
            block = self._stream.resample_chunk(block, last=is_last)
        self._peak = max(self._peak, float(np.abs(block).max(initial=0)))


def scaled_blocks(parts: Sequence[MeasuredPart], target_rate: int) -> Iterator[Float32]:
    """The mixed sound of all parts, scaled down where it would go beyond 1."""
    peak = max(_peak(part, target_rate) for part in parts)
    for block in chain.from_iterable(_mixed(part, target_rate) for part in parts):
        yield np.clip(block * np.float32(1 / peak), -1, 1) if peak > 1 else block


def _peak(part: MeasuredPart, target_rate: int) -> float:
    """The largest absolute sample at the target rate, or less than 1 if none is beyond it."""
    is_resampled, is_mono = part.segment.rate != target_rate, part.segment.channels == 1
    if part.mix.peak <= (_SAFE_PEAK if is_resampled else 1) or (is_mono and not is_resampled):
        return part.mix.peak
    if part.peak is not None:
        return part.peak
    return max(float(np.abs(block).max()) for block in _mixed(part, target_rate))


def _read(segment: Segment) -> Iterator[Block]:
    """Read a segment's blocks, for as long as the current call lasts."""
    call = current_call()
    for block in segment.read():
        call.check()
        yield block


def _mixed(part: MeasuredPart, target_rate: int) -> Iterator[Float32]:
    blocks = map(part.mix.of, _read(part.segment))
    if part.segment.rate == target_rate:
        return blocks
    return _resampled(blocks, part.segment.rate, target_rate, part.mix.num_mixed)


def _resampled(
    blocks: Iterator[Float32], rate: int, target_rate: int, channels: int
) -> Iterator[Float32]:
    """The same sound at ``target_rate``; soxr keeps what it needs from block to block."""
    stream = soxr.ResampleStream(rate, target_rate, channels, dtype="float32")
    shape = (0,) if channels == 1 else (0, channels)
    for block in blocks:
        resampled = stream.resample_chunk(block)
        if len(resampled):
            yield resampled
    rest = stream.resample_chunk(np.zeros(shape, np.float32), last=True)
    if len(rest):
        yield rest


def cut_pieces(
    blocks: Iterable[Float32], piece_s: float, rate: int, join_s: float = _JOIN_S
) -> Iterator[Float32]:
    """``blocks`` as pieces of ``piece_s`` seconds, the last with less than ``join_s`` more."""
    size, join = max(int(piece_s * rate), 1), int(join_s * rate)
    held, waiting = list[Float32](), 0
    for block in blocks:
        held.append(block)
        waiting += len(block)
        while waiting >= size + join:
            joined = np.concatenate(held)
            yield joined[:size].copy()
            held, waiting = [joined[size:]], waiting - size
    if waiting:
        yield np.concatenate(held)  # a copy: a block may be the samples that were given
