"""The checkpoint of a timeline: a JSON Lines file that grows by one line per captioned utterance.

The first line identifies recording, settings and release. Each further line holds a caption and
what it added to its speaker profile, and is on the disk before the next utterance is captioned. A
process that is killed loses at most the caption in hand; if a block of it was sent, that is charged
and logged already, and it is charged again when the utterance is captioned again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from types import TracebackType
from typing import Annotated, Self

from pydantic import ConfigDict, Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import FileLocked
from ugsd_privacy.files.bounded_files import open_regular
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.arguments import path_of
from ugsd_sdk.caption import Caption
from ugsd_sdk.errors import CheckpointError
from ugsd_sdk.timelines.stored_clip import StoredClip

__all__ = ["Checkpoint", "CheckpointEntry", "CheckpointHeader"]

_LOCK_WAIT_S = 1.0
_MAX_LINE_BYTES = 1 << 24
_MAX_ITEMS = 400_000
_BEGINNING = b'{"format":'


class CheckpointHeader(StrictModel):
    """The first line."""

    format: Annotated[int, exactly(1)] = 1
    release: str
    recording: str
    """Size and hash of the recording."""
    settings: dict[str, str]
    """What else the captions depend on, by name."""
    recording_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """By which the budget of the recording is counted; never sent."""

    @classmethod
    def of(cls, recording: str, settings: Mapping[str, str]) -> Self:
        """Return the header of a new checkpoint, with a recording id at random."""
        return cls(
            release=version("ugsd"),
            recording=recording,
            settings=dict(settings),
            recording_id=secrets.token_hex(16),
        )


class CheckpointEntry(StrictModel):
    """A line: one captioned utterance."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    channel: Annotated[int, Field(ge=0)]
    start_s: float
    end_s: float
    caption: Caption
    clip: StoredClip | None = None
    """What the caption gave to the channel's profile."""


class Checkpoint:
    """An open checkpoint; a context manager, which locks the file against other processes.

    Opening it begins the file if it is missing, and raises :class:`CheckpointError` for a file of
    another recording, settings or release, for one that is no checkpoint, and if it cannot be
    written. A torn last line is dropped.
    """

    def __init__(self, path: str | os.PathLike[str], expected: CheckpointHeader) -> None:
        self.path = path_of("checkpoint", path)
        self.header = expected
        """The header in the file; its recording id may be another one than that expected."""
        self.entries: list[CheckpointEntry] = []
        """What was captioned before, in order."""
        self._stack = ExitStack()
        self._file = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self.path, _LOCK_WAIT_S))
                kept = self._read()
                flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._file = os.open(self.path, flags, 0o600)
                stack.callback(os.close, self._file)
                os.ftruncate(self._file, kept)
                os.lseek(self._file, kept, os.SEEK_SET)
                if not kept:
                    self._append(self.header)
            except FileLocked as error:
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

    def _append(self, line: StrictModel) -> None:
        data = line.model_dump_json().encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def _read(self) -> int:
        """Read the file, and return the number of bytes that are whole lines."""
        if not self.path.exists():
            return 0
        with open_regular(self.path) as file:
            lines = iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
            first = next(lines, b"")
            if not first.endswith(b"\n"):
                if first and not first.startswith(_BEGINNING[: len(first)]):
                    raise self._damaged()
                return 0
            self._check_header(first)
            kept, torn = len(first), False
            for line in lines:
                if torn:
                    raise self._damaged()
                try:
                    self.entries.append(_read_entry(line))
                    kept += len(line)
                except ValueError:
                    torn = True  # only the last line may be
        return kept

    def _check_header(self, line: bytes) -> None:
        try:
            found = read_json(CheckpointHeader, line, max_items=_MAX_ITEMS)
        except ValueError as error:
            raise self._damaged() from error
        expected = self.header
        begin = "give another checkpoint, or delete this one to begin again"
        if found.recording != expected.recording:
            raise CheckpointError(f"{self.path} is the checkpoint of another recording: {begin}")
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
        self.header = found

    def _damaged(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is no checkpoint of a timeline, or is damaged: give another file; delete "
            "this one only if it is a checkpoint"
        )

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"{self.path} cannot be written: {error.strerror}: use a file in another folder"
        )


def _read_entry(line: bytes) -> CheckpointEntry:
    if not line.endswith(b"\n"):
        raise ValueError("cut short")
    return read_json(CheckpointEntry, line, max_items=_MAX_ITEMS)
