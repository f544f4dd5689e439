"""AIFF, FLAC, MP3 and Ogg, decoded by libsndfile from a descriptor, block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock

import soundfile

from ugsd_sdk.audio.clip_formats import TO_CONVERT, ClipFormat, refused
from ugsd_sdk.audio.segments import BLOCK_FRAMES, Block, Segment, check_channels
from ugsd_sdk.errors import UnreadableAudio

__all__ = ["libsndfile_segment"]

_UNKNOWN_FRAMES = 2**40
"""libsndfile states about 2^63 frames for a FLAC stream that does not state its length."""
_FAILURES = (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError)


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from its start to its end.

    ``soundfile`` seeks after each read, to where the file stands already. In a stream whose length
    is unknown that fails. It also holds one lock of the whole process while it opens a file, so
    that a child forked in this moment would wait for ever; here each file has its own. The lock
    serves the text of an error, which nobody reads here.
    """

    def __init__(self, file: int) -> None:
        """Open the descriptor ``file``, which stays open when this is closed."""
        self._sf_error_lock = Lock()
        super().__init__(file, closefd=False)

    def seekable(self) -> bool:
        """No: nothing is sought."""
        return False


def libsndfile_segment(file: int, found: ClipFormat, *, frames: int | None = None) -> Segment:
    """The sound in the file with the descriptor ``file``, which must stay open meanwhile.

    ``frames`` is how many there must be, where that is known. Raises :class:`UnreadableAudio` where
    libsndfile takes the file for something else than ``found`` or sees another length.
    """
    with _opened(file, found) as sound:
        rate, channels, stated = int(sound.samplerate), int(sound.channels), int(sound.frames)
    check_channels(channels)
    if frames is not None and frames != stated:
        raise UnreadableAudio(
            f"damaged: {stated} of {frames} samples can be decoded; copy or record the file again"
        )
    known = stated if stated < _UNKNOWN_FRAMES else None

    def read() -> Iterator[Block]:
        with _opened(file, found) as sound:
            decoded = 0
            while len(block := _next_block(sound)):
                decoded += len(block)
                yield block
        if known is not None and decoded != known:
            raise UnreadableAudio(
                f"damaged: {decoded / rate:.2f} s of {known / rate:.2f} s could be decoded; copy "
                "or record the file again"
            )

    return Segment(rate, channels, read, known)


def _opened(file: int, found: ClipFormat) -> _SequentialFile:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        sound = _SequentialFile(file)
    except _FAILURES as error:
        raise _undecodable() from error
    if sound.format not in found.containers or sound.subtype not in found.encodings:
        encoding = sound.subtype
        sound.close()
        kinds = ", ".join(sorted(found.encodings))
        raise refused(f"{found.name} with {encoding} samples (instead of {kinds})")
    return sound


def _next_block(sound: _SequentialFile) -> Block:
    try:
        block: Block = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
    except _FAILURES as error:
        raise _undecodable() from error
    return block


def _undecodable() -> UnreadableAudio:
    return UnreadableAudio(f"damaged, or not the audio that its first bytes promise: {TO_CONVERT}")
