"""What the device knows of how a user's voice usually sounds, and keeps to itself.

What tells one speaker from another is, above all, where their clips lie on average. The device
takes a user's own average out of the evidence before any state is made of it, so that a state tells
how a clip differs from the user's habit: more of the feeling, and less of the person (speaker
normalisation; ``ugsd-lab attack`` measures how much less). Until a few clips were heard nothing is
known of the habit, so states stay on the device: ``Settings.acquaintance``.

A habit is an average of evidence: something like a voiceprint. It is kept in the user's home
folder, readable by the owner alone, never leaves, and can be forgotten (``ugsd habit forget``).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.errors import FileLocked, KeyFileError
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.file_lock import locked
from ugsd_privacy.files.file_owners import (
    make_private_folder,
    remedy_of,
    require_not_writable,
    require_owned_by_us,
)

from ugsd_sdk.errors import HabitError

__all__ = ["NO_HABIT", "Habit", "HabitFile", "KnownVoice", "clips_heard", "forget_habits"]

Float32 = NDArray[np.float32]

_DOUBT_CLIPS = 2
_MEMORY_CLIPS = 50
"""Older clips fade: the average follows a voice, a microphone or a room that changes."""
_MAX_BYTES = 1 << 20
_LOCK_TIMEOUT_S = 2.0
_MAX_COUNT = 1 << 40

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Habit:
    """The average evidence of a user's earlier clips."""

    count: int
    """How many clips were heard, at least 0."""
    mean: Float32
    """(E,), of no length where nothing was heard."""

    @property
    def trust(self) -> float:
        """How far the average is to be believed, from 0 to 1: that of two clips by half."""
        return self.count / (self.count + _DOUBT_CLIPS)

    def after(self, heard: Float32) -> Habit:
        """The habit when a clip with the evidence ``heard`` (E,) was heard, too."""
        if not self.count:
            return Habit(1, heard.astype(np.float32))
        share = np.float32(1 / min(self.count + 1, _MEMORY_CLIPS))
        return Habit(self.count + 1, self.mean + share * (heard - self.mean))


NO_HABIT = Habit(0, np.zeros(0, dtype=np.float32))
"""Of a voice that was never heard."""


class HabitFile:
    """Where one user's habit outlives a process, and is shared by several.

    ``ears`` names what the evidence was heard with: a habit of other ears means nothing to these,
    and is replaced. ``user`` may be any text; its hash names the file.
    """

    def __init__(self, folder: Path, user: str, ears: bytes) -> None:
        self.path = _path(folder, user)
        self._ears = ears.hex()
        self._is_folder_checked = False

    def read(self) -> Habit:
        """The habit as it was last kept; none where there is none, or none that can be read: states
        then stay here until the voice is known again."""
        ears, habit = _read(self.path)
        return habit if ears == self._ears else NO_HABIT

    def add(self, heard: Float32, *, timeout_s: float = 2.0) -> Habit | None:
        """Keep the habit with one more clip's evidence (E,), whoever added to it meanwhile. It
        starts from nothing if it was forgotten or is of another length.

        ``None`` if another process kept the file locked for ``timeout_s``: then nothing was added.
        Raises :class:`HabitError`.
        """
        try:
            self._prepare_folder()
            with locked(self.path, timeout_s):
                last = self.read()
                habit = (last if last.mean.shape == heard.shape else NO_HABIT).after(heard)
                self._write(habit)
        except FileLocked:
            return None
        except OSError as error:
            raise HabitError(
                f"{self.path}: {error.strerror}: {remedy_of(error, self.path.parent)}"
            ) from error
        except KeyFileError as error:
            raise HabitError(str(error)) from error
        return habit

    def _prepare_folder(self) -> None:
        """Make the folder, and check once that nobody else can put files into it."""
        if self._is_folder_checked and self.path.parent.is_dir():
            return
        for folder in (self.path.parent.parent, self.path.parent):
            make_private_folder(folder)
        require_not_writable(self.path.parent)
        self._is_folder_checked = True

    def _write(self, habit: Habit) -> None:
        file = io.BytesIO()
        np.savez(file, count=np.int64(habit.count), mean=habit.mean, ears=self._ears)
        temporary = self.path.with_suffix(".part")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as part:
                part.write(file.getvalue())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)  # a disk that is full keeps no half of a voiceprint


def clips_heard(folder: Path, user: str) -> int:
    """How many clips of ``user`` the habit in ``folder`` is made of; 0 where there is none."""
    return _read(_path(folder, user))[1].count


def forget_habits(folder: Path, user: str) -> bool:
    """Delete what is known of ``user``, and what a crash left of it; whether anything was. A device
    that is running starts a new one. Raises :class:`HabitError`."""
    path = _path(folder, user)
    if not path.parent.is_dir():
        return False
    try:
        with locked(path, _LOCK_TIMEOUT_S):
            left = [part for part in (path, path.with_suffix(".part")) if part.exists()]
            for part in (*left, path.with_suffix(".lock")):
                part.unlink()
    except FileLocked as error:
        raise HabitError(str(error)) from error
    except OSError as error:
        raise HabitError(f"{path}: {error.strerror}: delete it by hand") from error
    return bool(left)


def _path(folder: Path, user: str) -> Path:
    name = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{name}.npz"


def _read(path: Path) -> tuple[str, Habit]:
    """The name of the ears, and the habit."""
    try:
        data = read_regular(path, _MAX_BYTES, check=require_owned_by_us)
    except OSError:
        return "", NO_HABIT
    except KeyFileError as error:
        _logger.warning("a habit is not used: %s", error)
        return "", NO_HABIT
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            count, mean, ears = kept["count"], kept["mean"], str(kept["ears"])
    except Exception:  # of damaged bytes, readers of zip and npy raise nearly anything
        _logger.warning("a habit cannot be read and is replaced")
        return "", NO_HABIT
    sound = mean.dtype == np.float32 and mean.ndim == 1 and bool(np.isfinite(mean).all())
    counted = count.dtype == np.int64 and count.shape == () and 0 < count < _MAX_COUNT
    return (ears, Habit(int(count), mean)) if sound and counted else ("", NO_HABIT)


class KnownVoice:
    """One user's habit as this process knows it, kept in ``file`` if there is one."""

    def __init__(self, file: HabitFile | None) -> None:
        self._file = file
        self.habit = NO_HABIT if file is None else file.read()

    def heard(self, evidence: Float32 | None, *, timeout_s: float = 2.0) -> None:
        """One more clip was heard; waits for the file's lock for at most ``timeout_s``. A clip for
        which that is not enough counts until the next one; a habit that cannot be kept lasts as
        long as the process."""
        if evidence is None:
            return
        self.habit = self._kept(evidence, timeout_s) or self.habit.after(evidence)

    def _kept(self, evidence: Float32, timeout_s: float) -> Habit | None:
        if self._file is None:
            return None
        try:
            return self._file.add(evidence, timeout_s=timeout_s)
        except HabitError as error:
            _logger.warning("the habit is not kept: %s", error)
            self._file = None
            return None
