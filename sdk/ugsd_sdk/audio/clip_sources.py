"""Clips as they are given (a path, bytes, a file object), opened as files that can be read twice.

libsndfile and FFmpeg read by descriptor, so that no callback of Python runs inside of them: a
callback needs memory that is writable and executable, and turns Ctrl-C into the end of the file.
Bytes get a descriptor through a file without a name, in memory where the system has such files.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import select
import shutil
import stat
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from time import monotonic
from typing import BinaryIO, Protocol

from ugsd_privacy.files.bounded_files import open_regular

from ugsd_sdk.audio.segments import MAX_DURATION_S
from ugsd_sdk.calls.call import current_call
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.errors import AudioTooLong, CallEnded, EmptyAudio, UnreadableAudio

__all__ = [
    "MAX_STREAM_BYTES",
    "EncodedClip",
    "ReadableFile",
    "anonymous_file",
    "descriptor",
    "is_encoded",
    "opened",
    "size_of",
]


class ReadableFile(Protocol):
    """An open file, upload or pipe: anything whose ``read(n)`` returns at most n bytes, and
    nothing at its end."""

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes."""


EncodedClip = str | os.PathLike[str] | bytes | bytearray | memoryview | ReadableFile

MAX_STREAM_BYTES = 2 * 2**30
"""How much of a pipe or file object is held: 12 h at 320 kbit/s have 1.7 GB."""
_MEMORY_BYTES = 64 * 2**20
"""What is larger is held in a temporary file instead of in memory."""
_READ_BYTES = 2**20
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Such as https: a path keeps one of the two slashes. A drive of Windows has one letter."""
_WRITER_WAIT_S = 2.0
_PIPE_WAIT_S = 30.0


def is_encoded(clip: object) -> bool:
    """Whether ``clip`` is an encoded file in some form, and not samples."""
    return isinstance(clip, (str, os.PathLike, bytes, bytearray, memoryview)) or callable(
        getattr(clip, "read", None)
    )


@contextlib.contextmanager
def opened(clip: EncodedClip) -> Iterator[BinaryIO]:
    """The clip as a file that can be read and sought, closed afterwards.

    A file object is read to its end from where it stands. A pipe is read until its writer closes
    it; nobody waits for long: 2 s for a writer, 30 s for its next byte, and for neither longer than
    the current call lasts. An object that may block is read on another thread, which such a call
    leaves behind until the object returns. Raises
    :class:`EmptyAudio`, :class:`AudioTooLong` for a stream beyond 2 GiB, and
    :class:`UnreadableAudio` for folders, devices and whatever cannot be read.
    """
    if isinstance(clip, (bytes, bytearray, memoryview)):
        file: BinaryIO = io.BytesIO(_checked_bytes(clip))
    elif isinstance(clip, (str, os.PathLike)):
        file = _opened_path(os.fsdecode(clip))
    else:
        file = _held(_chunks_of(clip))
        if not size_of(file):
            file.close()
            raise EmptyAudio(
                "it has no bytes: nothing was piped in, or the file object is at its end and needs "
                "seek(0) before"
            )
    with file:
        yield file


def size_of(file: BinaryIO) -> int:
    """The file's size in bytes; moves to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def anonymous_file(size: int) -> BinaryIO:
    """A file that has a descriptor but no name, for about ``size`` bytes: in memory if it is small
    and the system can, else in the folder for temporary files. It vanishes when it is closed."""
    if size <= _MEMORY_BYTES and hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # some sandboxes forbid it
            return os.fdopen(os.memfd_create("ugsd-clip"), "w+b")
    return tempfile.TemporaryFile(prefix="ugsd-clip-")


def descriptor(file: BinaryIO, start: int, stack: contextlib.ExitStack) -> int:
    """A descriptor of what ``file`` holds from ``start`` on: the file's own if that is all of it,
    else that of a copy, which ``stack`` closes."""
    if start == 0:
        with contextlib.suppress(io.UnsupportedOperation):
            return file.fileno()
    size = size_of(file) - start
    copy = stack.enter_context(anonymous_file(size))
    file.seek(start)
    shutil.copyfileobj(file, copy, _READ_BYTES)
    copy.flush()
    return copy.fileno()


def _opened_path(name: str) -> BinaryIO:
    try:
        if stat.S_ISFIFO(os.stat(name).st_mode):  # noqa: PTH116  # a NUL in it makes no Path
            file = _held(_chunks_of_pipe(name))
        else:
            file = open_regular(name)
    except CallEnded:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    try:
        if size_of(file):
            return file
    except OSError as error:
        file.close()
        raise _unreadable(name, error) from error
    file.close()
    raise EmptyAudio(f"{name!r} is empty: record again")


def _unreadable(name: str, error: OSError | ValueError) -> UnreadableAudio:
    if os.path.isdir(name):  # noqa: PTH112  # a name with a NUL in it is no Path's
        return UnreadableAudio(f"{name!r} is a folder: give the files in it")
    if os.path.exists(name) and not os.path.isfile(name):  # noqa: PTH110, PTH113
        cause = getattr(error, "strerror", None)
        if isinstance(error, TimeoutError):
            return UnreadableAudio(f"{name!r} is a pipe, and {cause}: start its writer first")
        return UnreadableAudio(
            f"{name!r} is a device or a socket: save the sound to a file first, or pass its bytes "
            "in Python"
        )
    cause = getattr(error, "strerror", None) or "no file can have this name"
    return UnreadableAudio(f"{name!r} cannot be opened: {cause}: {_path_remedy(name)}")


def _path_remedy(name: str) -> str:
    if _ADDRESS.match(name):
        return "download the address, and give the file or its bytes"
    if name.startswith("~"):
        return "`~` is not expanded: give Path(...).expanduser()"
    return "check the path and its permissions"


def _checked_bytes(clip: bytes | bytearray | memoryview) -> bytes:
    try:
        view = memoryview(clip)
        size = view.nbytes
    except ValueError as error:
        raise UnreadableAudio("the memoryview was released: give the bytes themselves") from error
    if not size:
        raise EmptyAudio("no bytes were given: is the upload complete?")
    return clip if isinstance(clip, bytes) else view.tobytes()


def _held(chunks: Iterator[bytes]) -> BinaryIO:
    """All of ``chunks`` in a file without a name, which moves to the disk when it grows large."""
    file, size, in_memory = anonymous_file(0), 0, True
    try:
        for chunk in chunks:
            size += len(chunk)
            _check_stream(size)
            if in_memory and size > _MEMORY_BYTES:
                small, file, in_memory = file, anonymous_file(size), False
                with small:
                    small.seek(0)
                    shutil.copyfileobj(small, file, _READ_BYTES)
            file.write(chunk)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _check_stream(size: int) -> None:
    if size > MAX_STREAM_BYTES:
        raise AudioTooLong(
            f"more than {MAX_STREAM_BYTES / 1e9:.1f} GB came from a pipe or file object: save the "
            "sound to a file and give its path"
        )


def _chunks_of(clip: ReadableFile) -> Iterator[bytes]:
    """What a file object of somebody else's making returns, until its end."""
    read = clip.read if _never_blocks(clip) else _interruptible(clip.read)
    while True:
        try:
            chunk = read(_READ_BYTES)
        except CallEnded:
            raise
        except Exception as error:
            raise UnreadableAudio(
                f"the file object could not be read ({type(error).__name__}): is it open for "
                "reading?"
            ) from error
        if chunk is None:
            raise UnreadableAudio(
                "the file object has no data yet: give a blocking one, or all of the bytes"
            )
        if isinstance(chunk, Coroutine):
            chunk.close()
            raise UnreadableAudio(
                "the file object is asynchronous: pass the bytes that `await file.read()` returns, "
                "or the .file of an upload"
            )
        if not isinstance(chunk, (bytes, bytearray, memoryview)):
            raise UnreadableAudio(
                f"the file object returns {type(chunk).__name__}, not bytes: open it with 'rb'"
            )
        if not len(chunk):
            return
        yield bytes(chunk)


def _never_blocks(clip: ReadableFile) -> bool:
    """Return whether reading ``clip`` waits for nobody: it is in memory or a file on a disk."""
    if isinstance(clip, (io.BytesIO, tempfile.SpooledTemporaryFile)):
        return True
    if not isinstance(clip, (io.RawIOBase, io.BufferedIOBase)):
        return False
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor, or is closed
        return stat.S_ISREG(os.fstat(clip.fileno()).st_mode)
    return False


def _interruptible(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Return ``read`` on another thread, to be waited for only as long as the call lasts."""

    def read_on_a_thread(size: int) -> bytes:
        chunks: list[bytes] = []
        work = BackgroundWork(lambda: chunks.append(read(size)), "ugsd-read")
        any(map(work.wait, current_call().slices(math.inf)))
        return chunks[0]

    return read_on_a_thread


def _chunks_of_pipe(name: str) -> Iterator[bytes]:
    """What a named pipe holds, until its writer closes it. Raises :class:`TimeoutError`."""
    pipe = os.open(name, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    try:
        ends_s = monotonic() + MAX_DURATION_S
        seen = False
        while monotonic() < ends_s:
            chunk = _next_of_pipe(pipe, _PIPE_WAIT_S if seen else _WRITER_WAIT_S)
            if not chunk:
                return
            seen = True
            yield chunk
        raise TimeoutError(0, "it did not end within 12 h")
    finally:
        os.close(pipe)


def _next_of_pipe(pipe: int, wait_s: float) -> bytes:
    with contextlib.suppress(BlockingIOError):
        chunk = os.read(pipe, _READ_BYTES)
        if chunk or wait_s == _PIPE_WAIT_S:
            return chunk
    ready: Callable[[float], object] = _poller(pipe)
    for slice_s in current_call().slices(wait_s):
        if ready(slice_s):
            with contextlib.suppress(BlockingIOError):
                return os.read(pipe, _READ_BYTES)
    raise TimeoutError(0, f"nothing came from it for {wait_s:.0f} s")


def _poller(pipe: int) -> Callable[[float], object]:
    """What waits for data or the end, for so many seconds."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return lambda wait_s: poll.poll(1000 * wait_s)
