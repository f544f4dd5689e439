"""The speaker profile: how a user's voice usually sounds.

Speakers differ above all in the average of their audio embeddings. The device subtracts the user's
own average from an embedding before it computes a state, so a state describes how a clip differs
from the user's usual voice: more about the feeling and less about the person (speaker
normalisation; ``ugsd-lab attack`` measures how much less). Before a few clips have enrolled the
user there is no such average, so no state is sent: ``Settings.min_enrolment``.

An average of audio embeddings is similar to a voiceprint. It is stored in the user's home folder,
readable only by the owner, never sent, and deleted by ``ugsd profile delete``.
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
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.file_owners import (
    make_private_folder,
    remedy_of,
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

_PRIOR_CLIPS = 2
_MEMORY_CLIPS = 50
"""Number of clips in the average. Older ones fade, so that it follows a change of voice,
microphone or room."""
_MAX_BYTES = 1 << 20
_LOCK_TIMEOUT_S = 2.0
_MAX_COUNT = 1 << 40

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SpeakerProfile:
    """The average audio embedding of a user's earlier clips."""

    count: int
    """Number of clips in the average, 0 or more."""
    mean: Float32
    """The average (E,); of length 0 if there was no clip."""

    @property
    def weight(self) -> float:
        """Weight of the average, from 0 to 1; 0.5 for two clips."""
        return self.count / (self.count + _PRIOR_CLIPS)

    def updated(self, embedding: Float32) -> SpeakerProfile:
        """Return the profile with one more clip, whose audio embedding is ``embedding`` (E,)."""
        if not self.count:
            return SpeakerProfile(1, embedding.astype(np.float32))
        share = np.float32(1 / min(self.count + 1, _MEMORY_CLIPS))
        return SpeakerProfile(self.count + 1, self.mean + share * (embedding - self.mean))


EMPTY_PROFILE = SpeakerProfile(0, np.zeros(0, dtype=np.float32))
"""The profile of a user without clips."""


class ProfileFile:
    """The file of one user's speaker profile, which several processes may share.

    ``audio_encoder`` identifies the encoder of the embeddings: a profile from another encoder is
    meaningless and is replaced. ``user`` may be any text; its hash is the file's name.
    """

    def __init__(self, folder: Path, user: str, audio_encoder: bytes) -> None:
        self.path = _path(folder, user)
        self._audio_encoder = audio_encoder.hex()
        self._is_folder_checked = False

    def read(self) -> SpeakerProfile:
        """Return the stored profile, or an empty one if there is none or it cannot be read; then no
        state is sent until the user is enrolled again."""
        audio_encoder, profile = _read(self.path)
        return profile if audio_encoder == self._audio_encoder else EMPTY_PROFILE

    def add(self, embedding: Float32, *, timeout_s: float = 2.0) -> SpeakerProfile | None:
        """Add a clip's audio embedding (E,) to the stored profile, and return the new profile.

        Clips that other processes added are kept. An empty profile is used if the stored one was
        deleted or has another length. Returns ``None``, and adds nothing, if another process locks
        the file for longer than ``timeout_s``. Raises :class:`ProfileError`.
        """
        try:
            self._prepare_folder()
            with file_lock(self.path, timeout_s):
                last = self.read()
                profile = (last if last.mean.shape == embedding.shape else EMPTY_PROFILE).updated(
                    embedding
                )
                self._write(profile)
        except FileLocked:
            return None
        except OSError as error:
            raise ProfileError(
                f"{self.path}: {error.strerror}: {remedy_of(error, self.path.parent)}"
            ) from error
        except KeyFileError as error:
            raise ProfileError(str(error)) from error
        return profile

    def _prepare_folder(self) -> None:
        """Create the folder, and check once that nobody else may write to it."""
        if self._is_folder_checked and self.path.parent.is_dir():
            return
        for folder in (self.path.parent.parent, self.path.parent):
            make_private_folder(folder)
        require_not_writable(self.path.parent)
        self._is_folder_checked = True

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
            temporary.unlink(missing_ok=True)  # leave no part of a profile on a full disk


def num_enrolled_clips(folder: Path, user: str) -> int:
    """Return the number of clips in the speaker profile of ``user``; 0 if there is none."""
    return _read(_path(folder, user))[1].count


def delete_profile(folder: Path, user: str) -> bool:
    """Delete the speaker profile of ``user`` and what a crash left of it.

    Returns whether there was one. A running captioner starts an empty one. Raises
    :class:`ProfileError`.
    """
    path = _path(folder, user)
    if not path.parent.is_dir():
        return False
    try:
        with file_lock(path, _LOCK_TIMEOUT_S):
            existing = [part for part in (path, path.with_suffix(".part")) if part.exists()]
            for part in (*existing, path.with_suffix(".lock")):
                part.unlink()
    except FileLocked as error:
        raise ProfileError(str(error)) from error
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}: {remedy_of(error, path.parent)}") from error
    return bool(existing)


def _path(folder: Path, user: str) -> Path:
    name = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{name}.npz"


def _read(path: Path) -> tuple[str, SpeakerProfile]:
    """Return the audio encoder's hash and the profile; empty ones if the file is unusable."""
    try:
        data = read_regular(path, _MAX_BYTES, check=require_owned_by_us)
    except OSError:
        return "", EMPTY_PROFILE
    except KeyFileError as error:
        _logger.warning("the speaker profile is not used: %s", error)
        return "", EMPTY_PROFILE
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            count, mean, audio_encoder = stored["count"], stored["mean"], str(stored["ears"])
    except Exception:  # readers of zip and npy raise nearly anything for damaged bytes
        _logger.warning("a damaged speaker profile is replaced")
        return "", EMPTY_PROFILE
    is_mean = mean.dtype == np.float32 and mean.ndim == 1 and bool(np.isfinite(mean).all())
    is_count = count.dtype == np.int64 and count.shape == () and 0 < count < _MAX_COUNT
    if not (is_mean and is_count):
        return "", EMPTY_PROFILE
    return audio_encoder, SpeakerProfile(int(count), mean)


class ProfileTracker:
    """One user's speaker profile in this process, stored in ``file`` if that is given."""

    def __init__(self, file: ProfileFile | None) -> None:
        self._file = file
        self.profile = EMPTY_PROFILE if file is None else file.read()

    def add_clip(self, embedding: Float32 | None, *, timeout_s: float = 2.0) -> None:
        """Add a clip to the profile; wait for the file's lock for at most ``timeout_s``.

        A clip that could not be stored in that time counts until the next one is added. A profile
        that cannot be stored lasts as long as the process.
        """
        if embedding is None:
            return
        self.profile = self._stored(embedding, timeout_s) or self.profile.updated(embedding)

    def _stored(self, embedding: Float32, timeout_s: float) -> SpeakerProfile | None:
        if self._file is None:
            return None
        try:
            return self._file.add(embedding, timeout_s=timeout_s)
        except ProfileError as error:
            _logger.warning("the speaker profile is not stored: %s", error)
            self._file = None
            return None
