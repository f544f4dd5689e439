"""MP4, WebM and AAC, decoded by FFmpeg through PyAV, which the extra ``media`` installs.

FFmpeg is given a descriptor, the one format that the first bytes promise, and a short list of
decoders: no address in a file is followed, and no other of its hundreds of parsers is reached.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from ugsd_sdk.audio.clip_formats import TO_CONVERT, ClipFormat
from ugsd_sdk.audio.segments import Block, Segment
from ugsd_sdk.errors import EmptyAudio, UnreadableAudio

__all__ = ["media_segment"]

_DECODERS = (
    "aac,alac,opus,libopus,vorbis,libvorbis,flac,mp3,mp3float,speex,libspeex,amrnb,amrwb,"
    "libopencore_amrnb,libopencore_amrwb,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,"
    "pcm_f32le,pcm_f64le,pcm_u8,pcm_mulaw,pcm_alaw"
)
_MISSING_S = 0.06
"""How much shorter than its header says a recording may be: an encoder's delay is less."""
_FAILURES = (av.error.FFmpegError, ValueError, RuntimeError, OSError, EOFError)


def media_segment(file: int, found: ClipFormat) -> Segment:
    """The first sound track in the file with the descriptor ``file``, which must stay open.

    Raises :class:`UnreadableAudio` for a file without sound, with sound of another encoding, or
    with less of it than its header states.
    """
    with _opened(file, found) as container:
        stream = _sound_of(container, found)
        stated_s = _stated_s(container, stream, found)
        first = _next_frame(container.decode(stream))
    if first is None:
        raise EmptyAudio(f"the {found.name} file holds no sound: record again")
    # Not those of its header: HE-AAC may have twice the rate and the channels that it states.
    rate, channels = first.sample_rate, first.layout.nb_channels

    def read() -> Iterator[Block]:
        decoded = 0
        with _opened(file, found) as container:
            frames = container.decode(_sound_of(container, found))
            while (block := _next_block(frames, rate, channels)) is not None:
                decoded += len(block)
                yield block
        if decoded / rate < stated_s - _MISSING_S:
            raise UnreadableAudio(
                f"damaged: {decoded / rate:.2f} s of {stated_s:.2f} s could be decoded; copy or "
                "record the file again"
            )

    return Segment(rate, channels, read, None if not stated_s else int(stated_s * rate))


def _opened(file: int, found: ClipFormat) -> InputContainer:
    options = {"fd": str(file), "protocol_whitelist": "fd", "codec_whitelist": _DECODERS}
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return av.open("fd:", format=found.demuxer, options=options)
    except _FAILURES as error:
        raise _undecodable(found) from error


def _sound_of(container: InputContainer, found: ClipFormat) -> AudioStream:
    if not container.streams.audio:
        raise EmptyAudio(f"the {found.name} file has no sound track: record again")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise UnreadableAudio(f"{found.name} with sound of this encoding is not read: {TO_CONVERT}")
    stream.codec_context.options = {"err_detect": "explode", "xerror": "1"}
    return stream


def _stated_s(container: InputContainer, stream: AudioStream, found: ClipFormat) -> float:
    """The length in seconds that the file's header states; 0 if it states none."""
    if found.demuxer == "aac":  # FFmpeg guesses it from the first frames
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base
    return 0.0


def _next_frame(frames: Iterator[AudioFrame]) -> AudioFrame | None:
    try:
        return next(frames, None)
    except _FAILURES as error:
        raise UnreadableAudio(
            "damaged: a part of the sound cannot be decoded; copy or record the file again"
        ) from error


def _next_block(frames: Iterator[AudioFrame], rate: int, channels: int) -> Block | None:
    frame = _next_frame(frames)
    if frame is None:
        return None
    if frame.sample_rate != rate or frame.layout.nb_channels != channels:
        raise UnreadableAudio(
            f"the sound changes its sample rate or channels in the middle: {TO_CONVERT}"
        )
    samples = frame.to_ndarray()
    if frame.format.is_planar:
        samples = samples.T
    return _as_float(samples.reshape(-1, channels))


def _as_float(samples: np.ndarray) -> Block:
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    centre = half if samples.dtype.kind == "u" else np.float32(0)
    return (samples.astype(np.float32) - centre) / half


def _undecodable(found: ClipFormat) -> UnreadableAudio:
    return UnreadableAudio(
        f"damaged, or not the {found.name} that its first bytes promise: {TO_CONVERT}"
    )
