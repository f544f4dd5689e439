"""The speaker profile that an application holds: passed to captions, saved, frozen, forgotten."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from threading import Lock
from typing import Self

from ugsd_privacy.errors import ExportFailed, KeyFileError
from ugsd_privacy.files.atomic_files import write_atomically
from ugsd_privacy.files.file_owners import remedy_of
from ugsd_privacy.forks import call_in_children
from ugsd_privacy.slots import Slots

from ugsd_sdk.errors import ProfileError
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT, Enrolment, ProfileChange, profile_after
from ugsd_sdk.profile.profile_file import aside_path, keep_aside, read_profile
from ugsd_sdk.profile.profile_format import (
    DamagedProfile,
    OtherFormat,
    StoredProfile,
    pack_profile,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.profile.utterance import Utterance

__all__ = ["Profile"]

_logger = logging.getLogger(__name__)


class Profile:
    """How one speaker usually sounds, learned from the clips that are captioned with it.

    ``Profile()`` is empty and in memory. Pass it to :meth:`Captioner.caption`; each clip that
    sounds like its speaker is added, unless it is frozen. A clip's caption depends on the clip and
    on the profile, so the same clip and the same frozen profile give the same caption.

    The speaker's last utterance is remembered as well, so that a caption can compare: in memory
    only, and not while the profile is frozen.

    The file changes only with :meth:`save`, except for the profile of a captioner's user
    (:meth:`Captioner.profile_of`), which is stored with every clip. Threads and captioners may
    share a profile: captions that may change it are made one after another. It fits one audio
    encoder: with another, it begins again, and its file is kept aside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.turn = Slots()
        """Held by a caption that may change the profile, from its encoding to its end."""
        self._stored = StoredProfile("", EMPTY_PROFILE)
        self._previous: Utterance | None = None
        self._path: Path | None = None
        self._is_frozen = False
        self._has_set_aside = False
        call_in_children(self._begin_in_child)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the profile that :meth:`save` wrote.

        A file of another release is kept aside, and the profile is empty. Raises
        :class:`ProfileError` if the file is missing, damaged, or belongs to another user of the
        machine.
        """
        profile, file = cls(), Path(path)
        profile._path = file
        try:
            profile._stored = read_profile(file)
        except OtherFormat:
            profile._begin_again()
        except OSError as error:
            raise ProfileError(
                f"{file}: {error.strerror}: begin with Profile() and save it there"
            ) from error
        except KeyFileError as error:
            raise ProfileError(str(error)) from error
        except DamagedProfile as error:
            raise ProfileError(
                f"{file} is not a speaker profile, or is damaged: delete it, and begin with "
                "Profile()"
            ) from error
        return profile

    @property
    def path(self) -> Path | None:
        """Its file; ``None`` if it is only in memory."""
        return self._path

    @property
    def num_clips(self) -> int:
        """Number of clips that were added."""
        return self._stored.contents.count

    @property
    def duration_s(self) -> float:
        """Seconds of speech in them."""
        return self._stored.contents.duration_s

    @property
    def is_frozen(self) -> bool:
        """Whether captions use the profile but do not change it."""
        return self._is_frozen

    @property
    def has_set_aside(self) -> bool:
        """Whether it began again because another audio encoder or another release had made it. Its
        former file is then kept as ``NAME.old-encoder.npz``."""
        return self._has_set_aside

    def is_enrolled(
        self,
        min_clips: int = DEFAULT_ENROLMENT.min_clips,
        min_duration_s: float = DEFAULT_ENROLMENT.min_duration_s,
    ) -> bool:
        """Whether it holds enough for states of its speaker to be sent, by default with the default
        settings ``min_enrolment`` and ``min_enrolment_s``."""
        return Enrolment(min_clips, min_duration_s).is_reached(self._stored.contents)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the profile to ``path``, which becomes its file, or to its file.

        The file can be read only by its owner, and is replaced whole or not at all. Raises
        :class:`ProfileError`.
        """
        with self._lock:
            file = self._path if path is None else Path(path)
            if file is None:
                raise ProfileError("the profile has no file yet: give save() a path")
            try:
                write_atomically(file, pack_profile(self._stored), mode=0o600)
            except ExportFailed as error:
                raise ProfileError(f"{error}: use another folder") from error
            self._path = file

    def freeze(self) -> None:
        """Let captions use the profile without changing it, until :meth:`unfreeze` or
        :meth:`reset`. A file does not store this. The last utterance is forgotten."""
        with self._lock:
            self._is_frozen = True
            self._previous = None

    def unfreeze(self) -> None:
        """Let captions add their clips again."""
        with self._lock:
            self._is_frozen = False

    def reset(self) -> None:
        """Forget all clips: the next one begins the profile. :meth:`save` empties its file, too."""
        with self._lock:
            self._stored, self._previous = StoredProfile("", EMPTY_PROFILE), None
            self._is_frozen = self._has_set_aside = False

    def forget(self) -> None:
        """Forget all clips, and delete the file and what was kept aside, if it has a file. Raises
        :class:`ProfileError`."""
        self.reset()
        with self._lock:
            file, self._path = self._path, None
            if file is None:
                return
            try:
                for place in (file, aside_path(file)):
                    place.unlink(missing_ok=True)
            except OSError as error:
                self._path = file
                raise ProfileError(
                    f"{file}: {error.strerror}: {remedy_of(error, file.parent)}"
                ) from error

    def contents_for(self, encoder: bytes) -> SpeakerProfile | None:
        """Return what is known of the speaker, for a drafter whose vectors ``encoder`` identifies.

        A profile of another encoder begins again; ``None`` if it is frozen, and cannot.
        """
        return self.state_for(encoder)[0]

    def digest(self) -> bytes:
        """Return a hash (32,) of what the profile knows of its speaker."""
        with self._lock:
            return hashlib.sha256(pack_profile(self._stored)).digest()

    def state_for(self, encoder: bytes) -> tuple[SpeakerProfile | None, Utterance | None]:
        """Return :meth:`contents_for` and :meth:`previous_utterance` of one moment."""
        with self._lock:
            return self._contents_for(encoder), self._previous

    def previous_utterance(self) -> Utterance | None:
        """Return the speaker's last utterance in this process. It is ``None`` if there was none or
        it could not be measured, and for a frozen profile."""
        with self._lock:
            return self._previous

    def add(
        self,
        clip: ClipVoice,
        encoder: bytes,
        enrolment: Enrolment,
        *,
        timeout_s: float = 2.0,
        utterance: Utterance | None = None,
    ) -> ProfileChange:
        """Add a clip by the rules of :func:`~ugsd_sdk.profile.matching.profile_after`, unless the
        profile is frozen. A profile that is stored waits for its file for at most ``timeout_s``.

        A clip of the speaker, also a repeated one, makes ``utterance`` the previous utterance.
        """
        with self._lock:
            if self._is_frozen:
                return ProfileChange.NONE
            change = self._add(clip, encoder, enrolment, timeout_s)
            if change is not ProfileChange.NONE:
                self._previous = utterance
            return change

    def _contents_for(self, encoder: bytes) -> SpeakerProfile | None:
        if self._stored.contents.count and self._stored.encoder != encoder.hex():
            if self._is_frozen:
                return None
            self._begin_again()
        return self._stored.contents

    def _add(
        self, clip: ClipVoice, encoder: bytes, enrolment: Enrolment, timeout_s: float
    ) -> ProfileChange:
        last = self._stored.contents
        is_other = self._stored.encoder != encoder.hex() or last.mean.shape != clip.embedding.shape
        if last.count and is_other:
            self._begin_again()
            last = EMPTY_PROFILE
        contents, change = profile_after(clip, last, enrolment)
        self._stored = StoredProfile(encoder.hex(), contents)
        return change

    def _begin_again(self) -> None:
        """Empty a profile that the audio encoder cannot use, and keep its file aside."""
        self._stored, self._previous = StoredProfile("", EMPTY_PROFILE), None
        self._has_set_aside = True
        try:
            if self._path is not None and self._path.exists():
                keep_aside(self._path)
                return
        except OSError as error:
            _logger.warning("%s cannot be kept aside: %s", self._path, error.strerror)
            self._path = None  # save() without a path would overwrite it
        _logger.warning(
            "a speaker profile of another audio encoder or release cannot be used: a new one begins"
        )

    def _begin_in_child(self) -> None:
        self._lock, self.turn = Lock(), Slots()  # a thread of the parent may have held the others
        self._previous = None
