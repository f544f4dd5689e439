"""Files of speaker profiles.

A user's profile is a file of the home folder, readable only by its owner, and may be shared by
several processes: each changes it under a lock. A profile that cannot be used with the drafter's
audio encoder is set aside (:mod:`~ugsd_sdk.profile.set_aside`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

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
from ugsd_sdk.profile.matching import Enrolment, ProfileChange, profile_after
from ugsd_sdk.profile.profile_format import (
    DamagedProfile,
    OtherFormat,
    StoredProfile,
    pack_profile,
    unpack_profile,
)
from ugsd_sdk.profile.set_aside import (
    MAX_PROFILE_BYTES,
    can_take_up,
    files_aside,
    set_aside,
    take_up,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

__all__ = [
    "ProfileFile",
    "delete_profile",
    "read_profile",
    "reset_profile",
    "stored_profile",
    "user_profile_path",
]

_LOCK_TIMEOUT_S = 2.0
_OPEN_TIMEOUT_S = 0.5
_ABSENT = StoredProfile("", EMPTY_PROFILE)

_logger = logging.getLogger(__name__)


class ProfileFile:
    """The file of one user's speaker profile, which several processes may share.

    ``encoder`` identifies what makes the profile's vectors. ``user`` may be any text; its hash is
    the file's name.
    """

    def __init__(self, folder: Path, user: str, encoder: bytes) -> None:
        self.path = user_profile_path(folder, user)
        self.has_set_aside = False
        """Whether a new profile began since the last one could not be used."""
        self._encoder = encoder.hex()
        self._is_folder_checked = False
        self._known_version: tuple[int, ...] = ()

    def has_changed(self) -> bool:
        """Whether the file is another one than this object has read or written last."""
        return self._version() != self._known_version

    def _version(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def open(self, *, timeout_s: float = _OPEN_TIMEOUT_S) -> SpeakerProfile:
        """Return the stored profile; first set one aside that another audio
        encoder made, and take up one of this encoder.

        Returns an empty profile if there is none or it cannot be read. Then no state is sent until
        the user is enrolled again.
        """
        self._known_version = self._version()
        stored = _read_user_profile(self.path)
        is_ours = stored is not None and self._is_ours(stored)
        if stored is not None and is_ours and not can_take_up(self.path, self._encoder):
            return stored.contents
        try:
            with file_lock(self.path, timeout_s):
                return self._usable()
        except FileLocked:  # done when the next clip is added
            return EMPTY_PROFILE
        except OSError as error:
            _logger.warning(
                "%s: a profile cannot be set aside or taken up: %s", self.path, error.strerror
            )
            return EMPTY_PROFILE

    def add(
        self, clip: ClipVoice, enrolment: Enrolment, *, timeout_s: float = _LOCK_TIMEOUT_S
    ) -> tuple[SpeakerProfile, ProfileChange] | None:
        """Add a clip to the stored profile if it belongs to it. Return the new profile and what has
        changed.

        Clips that other processes added are kept. An empty profile is used if the stored one was
        deleted. Returns ``None``, and adds nothing, if another process locks the file for longer
        than ``timeout_s``. Raises :class:`ProfileError`.
        """
        try:
            self._prepare_folder()
            with file_lock(self.path, timeout_s):
                last = self._usable(len(clip.embedding))
                profile, change = profile_after(clip, last, enrolment)
                if profile is not last:
                    _write(self.path, StoredProfile(self._encoder, profile))
                self._known_version = self._version()
        except FileLocked:
            return None
        except OSError as error:
            raise ProfileError(
                f"{self.path}: {error.strerror}: {remedy_of(error, self.path.parent)}"
            ) from error
        except KeyFileError as error:
            raise ProfileError(str(error)) from error
        return profile, change

    def _usable(self, length: int | None = None) -> SpeakerProfile:
        """Return the stored profile if its vectors fit; otherwise set it aside, and return that of
        this encoder if one was set aside before. With the lock."""
        stored = _read_user_profile(self.path)
        if os.path.lexists(self.path) and not self._fits(stored, length):
            is_other = stored is not None and not self._is_ours(stored)
            set_aside(self.path, stored.encoder if stored and is_other else None, self._encoder)
            self.has_set_aside = True
        if take_up(self.path, self._encoder):
            stored, self.has_set_aside = _read_user_profile(self.path), False
        self._known_version = self._version()
        return stored.contents if stored and self._fits(stored, length) else EMPTY_PROFILE

    def _fits(self, stored: StoredProfile | None, length: int | None) -> bool:
        if stored is None or not self._is_ours(stored):
            return False
        contents = stored.contents
        return length is None or not contents.count or len(contents.mean) == length

    def _is_ours(self, stored: StoredProfile) -> bool:
        return not stored.contents.count or stored.encoder == self._encoder

    def _prepare_folder(self) -> None:
        """Create the folder, and check once that nobody else may write to it."""
        if self._is_folder_checked and self.path.parent.is_dir():
            return
        for folder in (self.path.parent.parent, self.path.parent):
            make_private_folder(folder)
        require_not_writable(self.path.parent)
        self._is_folder_checked = True


def user_profile_path(folder: Path, user: str) -> Path:
    """Return the file of a user's profile in ``folder``."""
    name = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{name}.npz"


def read_profile(path: Path) -> StoredProfile:
    """Read the profile at ``path``. Raises :class:`DamagedProfile`, :class:`OtherFormat`,
    ``OSError``, and :class:`KeyFileError` if it belongs to another user of the machine."""
    return unpack_profile(read_regular(path, MAX_PROFILE_BYTES, check=require_owned_by_us))


def stored_profile(folder: Path, user: str) -> SpeakerProfile:
    """Return the profile of ``user``; an empty one if there is none that can be read."""
    stored = _read_user_profile(user_profile_path(folder, user))
    return EMPTY_PROFILE if stored is None else stored.contents


def reset_profile(folder: Path, user: str) -> bool:
    """Empty the profile of ``user``, and delete those that were set aside. Returns whether there
    was one. Raises :class:`ProfileError`."""
    path = user_profile_path(folder, user)
    if not (path.exists() or files_aside(path)):
        return False
    try:
        with file_lock(path, _LOCK_TIMEOUT_S):
            others = files_aside(path)
            if not (path.exists() or others):
                return False
            _write(path, _ABSENT)
            for aside in others:
                aside.unlink(missing_ok=True)
    except FileLocked as error:
        raise ProfileError(str(error)) from error
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}: {remedy_of(error, path.parent)}") from error
    return True


def delete_profile(folder: Path, user: str) -> bool:
    """Delete the profile of ``user``, those that were set aside, and what a crash left of them.

    Returns whether there was one. A running captioner starts an empty one. Raises
    :class:`ProfileError`.
    """
    path = user_profile_path(folder, user)
    if not path.parent.is_dir():
        return False
    try:
        with file_lock(path, _LOCK_TIMEOUT_S):
            files = (path, _part(path), *files_aside(path))
            existing = [file for file in files if os.path.lexists(file)]
            for file in (*existing, path.with_suffix(".lock")):
                file.unlink()
    except FileLocked as error:
        raise ProfileError(str(error)) from error
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}: {remedy_of(error, path.parent)}") from error
    return bool(existing)


def _read_user_profile(path: Path) -> StoredProfile | None:
    """Return the stored profile, an empty one if it cannot be read, or ``None`` if it has another
    format."""
    try:
        return read_profile(path)
    except OSError:
        return _ABSENT
    except KeyFileError as error:
        _logger.warning("the speaker profile is not used: %s", error)
        return _ABSENT
    except DamagedProfile:
        _logger.warning("a damaged speaker profile is replaced")
        return _ABSENT
    except OtherFormat:
        return None


def _part(path: Path) -> Path:
    return path.with_suffix(".part")


def _write(path: Path, stored: StoredProfile) -> None:
    """Replace the file whole. With the lock."""
    part = _part(path)
    try:
        part.unlink(missing_ok=True)  # what a crash left, or a planted link
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pack_profile(stored))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # leave no part of a profile on a full disk
