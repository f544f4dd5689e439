"""A timeline checkpoint: a JSON Lines file that grows by one line per captioned utterance.

The first line identifies recording, settings and release. Each further line holds a caption and
what it added to its speaker profile, and is on the disk before the next utterance is captioned. A
process that is killed loses at most the caption that it was making; if a block of it was sent, that
is charged and logged already, and it is charged again when the utterance is captioned again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import FileLocked, KeyFileError
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.file_owners import require_owned_by_us
from ugsd_privacy.files.reserved_files import is_reserved
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.arguments import path_of
from ugsd_sdk.caption import Caption
from ugsd_sdk.errors import CheckpointError
from ugsd_sdk.timelines.stored_clip import StoredClip

__all__ = ["Checkpoint", "CheckpointEntry", "CheckpointHeader"]

_LOCK_WAIT_S = 1.0
_MAX_LINE_BYTES = 1 << 24
_MAX_ITEMS = 400_000
_RECORDING_ID = re.compile(rb"[0-9a-f]{0,32}")


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CheckpointHeader(StrictModel):
    """The first line."""

    format: Literal["ugsd timeline checkpoint 1"] = "ugsd timeline checkpoint 1"
    release: str
    recording: str
    """Size and hash of the recording."""
    settings: dict[str, str]
    """What else the captions depend on, by name."""
    recording_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """By which the budget of the recording is counted; never sent. The last field, since it is
    the only one that a new header does not share with one that was torn."""

    @classmethod
    def of(cls, recording: str, settings: Mapping[str, str], recording_id: bytes) -> Self:
        """Return the header of a new timeline checkpoint."""
        return cls(
            release=version("ugsd"),
            recording=recording,
            settings=dict(settings),
            recording_id=recording_id.hex(),
        )


class CheckpointEntry(StrictModel):
    """A line: one captioned utterance."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    channel: Annotated[int, Field(ge=0)]
    start_s: _Seconds
    end_s: _Seconds
    caption: Caption
    clip: StoredClip | None = None
    """What the caption gave to the channel's profile."""


class Checkpoint:
    """An open timeline checkpoint; a context manager, which locks the file against other processes.

    Opening it begins the file if it is missing, and raises :class:`CheckpointError` for a file of
    another recording, settings or release, for one that is no timeline checkpoint or is damaged,
    for one of another user or that others may read, for a symbolic link, and if it cannot be
    written. Such a file is not changed. A torn last line is dropped.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        expected: CheckpointHeader,
        num_channels: int,
        encoder: bytes,
    ) -> None:
        """``encoder`` identifies the vectors of the clips in the file."""
        self.path = path_of("checkpoint", path)
        self.entries: list[CheckpointEntry] = []
        """What was captioned before, in order."""
        self._header = expected
        self._num_channels = num_channels
        self._encoder = encoder.hex()
        self._dimensions: tuple[tuple[int, ...], ...] | None = None
        """Those of all clips in the file."""
        self._stack = ExitStack()
        self._file = -1

    @property
    def recording_id(self) -> bytes:
        """The id of the recording (16 bytes): that in the file, if it has one."""
        return bytes.fromhex(self._header.recording_id)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self.path, _LOCK_WAIT_S))
                self._file = self._opened()
                stack.callback(os.close, self._file)
                self._require_private(os.fstat(self._file))
                kept = self._read()
                os.ftruncate(self._file, kept)
                os.lseek(self._file, kept, os.SEEK_SET)
                if not kept:
                    self._append(self._header)
            except (FileLocked, KeyFileError) as error:
                raise CheckpointError(str(error)) from error
            except OSError as error:
                raise self._unwritable(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, entry: CheckpointEntry) -> None:
        """Append a line, and wait until it is on the disk. Raises :class:`CheckpointError`."""
        try:
            self._append(entry)
        except OSError as error:
            raise self._unwritable(error) from error

    def damaged(self) -> CheckpointError:
        """Return the error of a file with content that no timeline has written."""
        return CheckpointError(
            f"{self.path} is no timeline checkpoint, or is damaged: give another file; delete this "
            "one only if it is a timeline checkpoint"
        )

    def _opened(self) -> int:
        """Open the file, or create it; never another one behind a symbolic link."""
        names = ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY")
        flags = os.O_RDWR
        for name in names:
            flags |= getattr(os, name, 0)
        try:
            return os.open(self.path, flags)
        except FileNotFoundError:
            return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)

    def _require_private(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or is_reserved(status):
            raise self.damaged()
        require_owned_by_us(self.path, status)
        if os.name == "posix" and status.st_mode & 0o077:
            raise CheckpointError(
                f"others may read or write {self.path}, which would hold what speaker profiles "
                f"learn: give another file, or run: chmod 600 {self.path}"
            )

    def _append(self, line: StrictModel) -> None:
        data = _line_of(line)
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def _read(self) -> int:
        """Read the file, and return the number of bytes that are whole lines."""
        with open(self._file, "rb", closefd=False) as file:
            lines = iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
            first = next(lines, b"")
            if not first.endswith(b"\n"):
                if not self._is_torn_header(first):
                    raise self.damaged()
                return 0
            self._check_header(first)
            kept, is_torn = len(first), False
            for line in lines:
                if is_torn:
                    raise self.damaged()
                if line.endswith(b"\n"):
                    self.entries.append(self._entry(line))
                    kept += len(line)
                else:
                    is_torn = len(line) < _MAX_LINE_BYTES  # only the last line may be
                    if not is_torn:
                        raise self.damaged()
        return kept

    def _is_torn_header(self, data: bytes) -> bool:
        """Return whether ``data`` is the beginning of the header that would be written, but for its
        recording id."""
        line = _line_of(self._header)
        at = line.index(self._header.recording_id.encode())
        found = _RECORDING_ID.match(data[at : at + 32])
        own = b"" if found is None else found[0]
        return (line[:at] + own + line[at + 32 :]).startswith(data)

    def _check_header(self, line: bytes) -> None:
        try:
            found = read_json(CheckpointHeader, line, max_items=_MAX_ITEMS)
        except ValueError as error:
            raise self.damaged() from error
        expected = self._header
        begin = "give another timeline checkpoint, or delete this one to begin again"
        if found.recording != expected.recording:
            raise CheckpointError(
                f"{self.path} is the timeline checkpoint of another recording: {begin}"
            )
        if found.release != expected.release:
            raise CheckpointError(
                f"{self.path} is of release {found.release}, and this is {expected.release}: "
                f"{begin}"
            )
        names = sorted({*found.settings, *expected.settings})
        other = [one for one in names if found.settings.get(one) != expected.settings.get(one)]
        if other:
            raise CheckpointError(
                f"{self.path} was begun with other settings ({', '.join(other)}): use the same, "
                f"or {begin}"
            )
        self._header = found

    def _entry(self, line: bytes) -> CheckpointEntry:
        """Read a line, all of whose content is checked before any profile changes."""
        try:
            entry = read_json(CheckpointEntry, line, max_items=_MAX_ITEMS)
        except ValueError as error:
            raise self.damaged() from error
        if entry.channel >= self._num_channels or not self._has_same_vectors(entry.clip):
            raise self.damaged()
        return entry

    def _has_same_vectors(self, clip: StoredClip | None) -> bool:
        if clip is None:
            return True
        self._dimensions = self._dimensions or clip.dimensions
        return (clip.encoder, clip.dimensions) == (self._encoder, self._dimensions)

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"{self.path} cannot be written: {error.strerror}: use a file in another folder, and "
            "no symbolic link"
        )


def _line_of(model: StrictModel) -> bytes:
    return model.model_dump_json().encode() + b"\n"
