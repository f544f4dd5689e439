"""What the device knows of how a user's voice usually sounds, and keeps to itself.

What tells one speaker from another is, above all, where their clips lie on average. The device
takes a user's own average out of the evidence before any state is made of it, so that a state tells
how a clip differs from the user's habit: more of the feeling, and less of the person (speaker
normalisation; ``ugsd-lab attack`` measures how much less). Until a few clips were heard nothing is
known of the habit, so states stay on the device: ``Settings.min_enrolment``.

A habit is an average of evidence: something like a voiceprint. It is kept in the user's home
folder, readable by the owner alone, never leaves, and can be forgotten (``ugsd profile delete``).
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
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.key_files import (
    make_private_folder,
    require_not_writable,
    require_owned_by_us,
)

from ugsd_sdk.errors import ProfileError

__all__ = [
    "EMPTY_PROFILE",
    "ProfileFile",
    "ProfileTracker",
    "SpeakerProfile",
    "delete_profile",
    "num_enrolled_clips",
]

Float32 = NDArray[np.float32]

_DOUBT_CLIPS = 2
_MEMORY_CLIPS = 50
"""Older clips fade: the average follows a voice, a microphone or a room that changes."""
_MAX_BYTES = 1 << 20
_MAX_COUNT = 1 << 40

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SpeakerProfile:
    """The average evidence of a user's earlier clips."""

    count: int
    """How many clips were heard, at least 0."""
    mean: Float32
    """(E,), of no length where nothing was heard."""

    @property
    def weight(self) -> float:
        """How far the average is to be believed, from 0 to 1: that of two clips by half."""
        return self.count / (self.count + _DOUBT_CLIPS)

    def updated(self, embedding: Float32) -> SpeakerProfile:
        """The habit when a clip with the evidence ``heard`` (E,) was heard, too."""
        if not self.count:
            return SpeakerProfile(1, embedding.astype(np.float32))
        share = np.float32(1 / min(self.count + 1, _MEMORY_CLIPS))
        return SpeakerProfile(self.count + 1, self.mean + share * (embedding - self.mean))


EMPTY_PROFILE = SpeakerProfile(0, np.zeros(0, dtype=np.float32))
"""Of a voice that was never heard."""


class ProfileFile:
    """Where one user's habit outlives a process, and is shared by several.

    ``ears`` names what the evidence was heard with: a habit of other ears means nothing to these,
    and is begun anew. ``user`` may be any text; its hash names the file.
    """

    def __init__(self, folder: Path, user: str, audio_encoder: bytes) -> None:
        self.path = _path(folder, user)
        self._audio_encoder = audio_encoder.hex()

    def read(self) -> SpeakerProfile:
        """The habit as it was last kept; none where there is none, or none that can be read: states
        then stay here until the voice is known again."""
        ears, profile = _read(self.path)
        return profile if ears == self._audio_encoder else EMPTY_PROFILE

    def add(self, embedding: Float32, *, timeout_s: float = 2.0) -> SpeakerProfile | None:
        """Keep the habit with one more clip's evidence (E,), whoever added to it meanwhile. It
        starts from nothing if it was forgotten or is of another length.

        ``None`` if another process kept the file locked for ``timeout_s``: then nothing was added.
        Raises :class:`ProfileError`.
        """
        try:
            for folder in (self.path.parent.parent, self.path.parent):
                make_private_folder(folder)
            require_not_writable(self.path.parent)
            with file_lock(self.path, timeout_s=timeout_s):
                last = self.read()
                profile = (last if last.mean.shape == embedding.shape else EMPTY_PROFILE).updated(
                    embedding
                )
                self._write(profile)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ProfileError(f"{self.path}: {error.strerror}: free some space") from error
        except KeyFileError as error:
            raise ProfileError(str(error)) from error
        return profile

    def _write(self, profile: SpeakerProfile) -> None:
        file = io.BytesIO()
        np.savez(file, count=np.int64(profile.count), mean=profile.mean, ears=self._audio_encoder)
        temporary = self.path.with_suffix(".part")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as part:
                part.write(file.getvalue())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)  # a disk that is full keeps no half of a voiceprint


def num_enrolled_clips(folder: Path, user: str) -> int:
    """How many clips of ``user`` the habit in ``folder`` is made of; 0 where there is none."""
    return _read(_path(folder, user))[1].count


def delete_profile(folder: Path, user: str) -> bool:
    """Delete what is known of ``user``, and what a crash left of it; whether anything was. A device
    that is running begins anew. Raises :class:`ProfileError`."""
    path = _path(folder, user)
    if not path.parent.is_dir():
        return False
    try:
        with file_lock(path):
            left = [part for part in (path, path.with_suffix(".part")) if part.exists()]
            for part in (*left, path.with_suffix(".lock")):
                part.unlink()
    except BlockingIOError as error:
        raise ProfileError(f"{path}: another process keeps it locked: try again") from error
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}: delete it by hand") from error
    return bool(left)


def _path(folder: Path, user: str) -> Path:
    name = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{name}.npz"


def _read(path: Path) -> tuple[str, SpeakerProfile]:
    """The name of the ears, and the habit."""
    try:
        data = read_regular(path, _MAX_BYTES, check=require_owned_by_us)
    except OSError:
        return "", EMPTY_PROFILE
    except KeyFileError as error:
        _logger.warning("the speaker profile is not used: %s", error)
        return "", EMPTY_PROFILE
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            count, mean, ears = kept["count"], kept["mean"], str(kept["ears"])
    except Exception:  # of damaged bytes, readers of zip and npy raise nearly anything
        _logger.warning("the speaker profile cannot be read and starts again from nothing")
        return "", EMPTY_PROFILE
    sound = mean.dtype == np.float32 and mean.ndim == 1 and bool(np.isfinite(mean).all())
    counted = count.dtype == np.int64 and count.shape == () and 0 < count < _MAX_COUNT
    return (ears, SpeakerProfile(int(count), mean)) if sound and counted else ("", EMPTY_PROFILE)


class ProfileTracker:
    """One user's habit as this process knows it, kept in ``file`` if there is one."""

    def __init__(self, file: ProfileFile | None) -> None:
        self._file = file
        self.profile = EMPTY_PROFILE if file is None else file.read()

    def add_clip(self, embedding: Float32 | None, *, timeout_s: float = 2.0) -> None:
        """One more clip was heard; waits for the file's lock for at most ``timeout_s``. A clip for
        which that is not enough counts until the next one; a habit that cannot be kept lasts as
        long as the process."""
        if embedding is None:
            return
        self.profile = self._stored(embedding, timeout_s) or self.profile.updated(embedding)

    def _stored(self, embedding: Float32, timeout_s: float) -> SpeakerProfile | None:
        if self._file is None:
            return None
        try:
            return self._file.add(embedding, timeout_s=timeout_s)
        except ProfileError as error:
            _logger.warning("the speaker profile is not kept: %s", error)
            self._file = None
            return None
