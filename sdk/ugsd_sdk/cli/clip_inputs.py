"""The clips that a command is given: files, folders, patterns and standard input."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import typer
from ugsd_privacy.files.bounded_files import open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AUDIO_SUFFIXES", "STDIN", "ClipInput", "clip_inputs", "raw_samples", "standard_input"]

STDIN = "-"
"""The argument that stands for standard input."""
AUDIO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "wav", "wave", "aif", "aiff", "aifc", "flac", "mp3", "ogg", "oga", "opus", "m4a", "mp4",
        "aac", "webm", "mka", "mkv",
    )
)  # fmt: skip
"""Endings of the files in a folder that are captioned. A file that is named itself may have any."""
_MAX_RAW_S = 12 * 3600
_PCM_BYTES = 2


@dataclass(frozen=True)
class ClipInput:
    """A clip that is to be captioned."""

    path: str
    """The path to open and to print, or ``STDIN``."""
    relative: str
    """The path below the folder that was given, or the file's name."""

    @property
    def is_stdin(self) -> bool:
        """Whether the clip is standard input."""
        return self.path == STDIN

    @property
    def folder(self) -> str | None:
        """The name of the folder that the clip is in; ``None`` for standard input, and at the root
        of a file system."""
        place = os.path.dirname(os.path.abspath(self.path))  # noqa: PTH100, PTH120  # without ..
        return None if self.is_stdin else os.path.basename(place) or None  # noqa: PTH119


def clip_inputs(arguments: Sequence[str], report: Callable[[str, str], None]) -> list[ClipInput]:
    """Return the clips in the order of the arguments, and those of a folder in natural order.

    A folder stands for the audio files in it and below, except hidden ones; links to folders are
    not followed, so that no loop is. A pattern, such as ``*.wav``, stands for the files that match,
    if no file has that name: not every console replaces patterns. What cannot be used is reported
    as path and fault, and the rest is returned. Raises :class:`typer.BadParameter` if standard
    input is given twice.
    """
    if arguments.count(STDIN) > 1:
        raise typer.BadParameter("standard input (-) can be read only once")
    return [found for argument in arguments for found in _expanded(argument, report)]


def _expanded(argument: str, report: Callable[[str, str], None]) -> Iterator[ClipInput]:
    if argument == STDIN:
        yield ClipInput(STDIN, "stdin")
    elif os.path.isdir(argument):  # noqa: PTH112  # a name with a NUL in it is no Path's
        yield from _in_folder(argument, report)
    elif not os.path.lexists(argument) and (matches := _matches(argument)):
        for path in matches:
            yield from _expanded(path, report)
    else:
        yield ClipInput(argument, os.path.basename(argument))  # noqa: PTH119


def _matches(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    return sorted(glob.glob(pattern), key=_natural)  # noqa: PTH207  # text


def _in_folder(folder: str, report: Callable[[str, str], None]) -> Iterator[ClipInput]:
    is_empty = True
    faults: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=faults.append):
        folders[:] = sorted((one for one in folders if one[0] != "."), key=_natural)
        for name in sorted(files, key=_natural):
            if name[0] != "." and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122
                path = os.path.join(place, name)  # noqa: PTH118
                is_empty = False
                yield ClipInput(path, os.path.relpath(path, folder))
    for fault in faults:
        report(str(fault.filename), f"cannot be listed: {fault.strerror}: check its permissions")
    if is_empty and not faults:
        report(folder, "holds no audio file: name the files themselves if they have other endings")


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key by which ``clip2`` comes before ``clip10``."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def standard_input() -> BinaryIO:
    """Return standard input for bytes. Raises :class:`typer.BadParameter` if it is closed or a
    terminal, where nobody would know that it is waited for."""
    if sys.stdin is None:
        raise typer.BadParameter(
            "standard input (-) is closed: pipe a clip into it, or name a file"
        )
    if sys.stdin.isatty():
        raise typer.BadParameter(
            "standard input (-) is the keyboard: pipe a clip into it, as in "
            "`ugsd caption - < a.wav`, or samples with --raw RATE"
        )
    return sys.stdin.buffer


def raw_samples(clip: ClipInput, rate: int) -> NDArray[np.int16]:
    """Return mono samples of 16 bits, little-endian, without a header, read to the end.

    Raises :class:`AudioError`.
    """
    import numpy as np  # noqa: PLC0415  # heavy

    from ugsd_sdk.errors import AudioTooLong, UnreadableAudio  # noqa: PLC0415

    most = _MAX_RAW_S * rate * _PCM_BYTES
    try:
        if clip.is_stdin:
            data = standard_input().read(most + 1)
        else:
            with open_regular(clip.path) as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UnreadableAudio(
            f"{clip.path!r} cannot be read: {error.strerror}: check the path and its permissions"
        ) from error
    if len(data) > most:
        raise AudioTooLong(f"{clip.path!r} has more than 12 h of samples: cut it")
    if len(data) % _PCM_BYTES:
        raise UnreadableAudio(
            f"{clip.path!r} has {len(data)} bytes, which are no samples of 16 bits: --raw reads "
            "mono, little-endian"
        )
    return np.frombuffer(data, "<i2")
