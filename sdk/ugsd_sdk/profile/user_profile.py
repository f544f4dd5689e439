"""The profile of a captioner's user, which processes share through a file of the home folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Self

from ugsd_sdk.errors import ProfileError
from ugsd_sdk.profile.matching import Enrolment, ProfileChange
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.profile_file import ProfileFile, delete_profile, reset_profile
from ugsd_sdk.profile.profile_format import StoredProfile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.profile.utterance import Utterance

__all__ = ["UserProfile"]

_logger = logging.getLogger(__name__)


class UserProfile(Profile):
    """One user's speaker profile in this process, stored in ``file`` if that is given.

    A clip that could not be stored in time counts until the next one is added. A profile that
    cannot be stored lasts as long as the object.
    """

    def __init__(self, file: ProfileFile | None, user: str, encoder: bytes) -> None:
        super().__init__()
        self._file = file
        self._user = user
        self._cannot_store = False
        """Whether storing failed: from then on the profile lasts as long as the process."""
        self._user_encoder = encoder
        if file is not None:
            self._path = file.path
            self._read()

    @classmethod
    def of(cls, user: str, encoder: bytes, folder: Path | None) -> Self:
        """Return the profile of ``user``, stored in ``folder`` if that is given. A drafter whose
        vectors nothing identifies (``encoder``) has none that is stored."""
        file = ProfileFile(folder, user, encoder) if folder is not None and encoder else None
        return cls(file, user, encoder)

    @property
    def is_stored(self) -> bool:
        """Whether its file has all that is known of the user's voice."""
        return self._file is not None and not self._cannot_store

    def reset(self) -> None:
        """Forget all clips, also in the file and in those that were set aside. Raises
        :class:`ProfileError`."""
        if self._file is not None:
            reset_profile(self._file.path.parent, self._user)
            self._file.has_set_aside = False
        super().reset()

    def forget(self) -> None:
        """Forget all clips, and delete the file and what was set aside, as ``ugsd profile delete``
        does. The next clip begins a new file. Raises :class:`ProfileError`."""
        if self._file is not None:
            delete_profile(self._file.path.parent, self._user)
            self._file.has_set_aside = False
        super().reset()

    def state_for(self, encoder: bytes) -> tuple[SpeakerProfile | None, Utterance | None]:
        """Return what is known of the user, with what other processes have stored since, and the
        user's last utterance in this process.

        A frozen profile stays as it was when it was frozen, unless its file was deleted or emptied.
        Both are ``None`` for another encoder than that of the user's captioner.
        """
        if encoder != self._user_encoder:
            return None, None
        return super().state_for(encoder)

    def _contents_for(self, encoder: bytes) -> SpeakerProfile | None:
        if self._file is not None and self.is_stored and self._file.has_changed():
            before = self._stored
            self._read()
            if self._stored.contents.count <= before.contents.count:
                self._previous = None  # another process emptied it, or began it again
            if self._is_frozen and self._stored.contents.count:
                self._stored = before
        return super()._contents_for(encoder)

    def _add(
        self, clip: ClipVoice, encoder: bytes, enrolment: Enrolment, timeout_s: float
    ) -> ProfileChange:
        if encoder != self._user_encoder:
            return ProfileChange.NONE
        try:
            added = (
                None
                if self._file is None or self._cannot_store
                else self._file.add(clip, enrolment, timeout_s=timeout_s)
            )
        except ProfileError as error:
            _logger.warning("the speaker profile is not stored: %s", error)
            self._cannot_store, added = True, None
        if added is None:
            return super()._add(clip, encoder, enrolment, timeout_s)
        contents, change = added
        self._remember(contents)
        return change

    def _read(self) -> None:
        assert self._file is not None  # noqa: S101
        self._remember(self._file.open())

    def _remember(self, contents: SpeakerProfile) -> None:
        assert self._file is not None  # noqa: S101
        encoder = self._user_encoder.hex() if contents.count else ""
        self._stored = StoredProfile(encoder, contents if contents.count else EMPTY_PROFILE)
        self._has_set_aside = self._has_set_aside or self._file.has_set_aside
