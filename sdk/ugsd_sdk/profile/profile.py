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

from ugsd_sdk.arguments import path_of
from ugsd_sdk.errors import ProfileError, WrongType
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT, Enrolment, ProfileChange, profile_after
from ugsd_sdk.profile.profile_file import read_profile
from ugsd_sdk.profile.profile_format import (
    DamagedProfile,
    OtherFormat,
    StoredProfile,
    pack_profile,
)
from ugsd_sdk.profile.set_aside import (
    can_take_up,
    files_aside,
    other_encoder_message,
    set_aside,
    take_up,
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
    encoder: with another, it begins again, and what it held is set aside until the first returns.
    """

    def __init__(self, *, only_compares: bool = False) -> None:
        """``only_compares`` says that captions compare a clip with the profile ("more agitated than
        before"), but that neither their emotion nor what may be sent depends on it."""
        self._only_compares = only_compares
        self._lock = Lock()
        self.turn = Slots()
        """Held by a caption that may change the profile, from its encoding to its end."""
        self._stored = StoredProfile("", EMPTY_PROFILE)
        self._previous: Utterance | None = None
        self._path: Path | None = None
        self._is_frozen = False
        self._has_set_aside = False
        self._aside: dict[str, StoredProfile] = {}
        """What was set aside, by encoder, with the clips that no file has."""
        self._is_reset = False
        call_in_children(self._begin_in_child)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the profile that :meth:`save` wrote.

        A file of another release is set aside, and the profile is empty; so it is if there is only
        a file that was set aside for another drafter, until that is used. Raises
        :class:`ProfileError` if the file is missing, damaged, or belongs to another user of the
        machine.
        """
        profile, file = cls(), path_of("path", path)
        profile._path = file
        try:
            profile._stored = read_profile(file)
        except OtherFormat:
            profile._begin_again(None, "")
        except OSError as error:
            if isinstance(error, FileNotFoundError) and files_aside(file):
                return profile
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
    def only_compares(self) -> bool:
        """Whether captions only compare a clip with it."""
        return self._only_compares

    @property
    def is_frozen(self) -> bool:
        """Whether captions use the profile but do not change it."""
        return self._is_frozen

    @property
    def has_set_aside(self) -> bool:
        """Whether it began again because another audio encoder or another release had made it. Its
        former file is then kept as ``NAME.encoder-HASH.npz`` or ``NAME.unused-HASH.npz``."""
        return self._has_set_aside

    def is_enrolled(
        self,
        min_clips: int = DEFAULT_ENROLMENT.min_clips,
        min_duration_s: float = DEFAULT_ENROLMENT.min_duration_s,
    ) -> bool:
        """Whether it holds enough for states of its speaker to be sent, by default with the default
        settings ``min_enrolment`` and ``min_enrolment_s``."""
        for value in (min_clips, min_duration_s):
            if not isinstance(value, (int, float)):
                raise WrongType(f"enrolment is a number, not {type(value).__name__}")
        return Enrolment(min_clips, min_duration_s).is_reached(self._stored.contents)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the profile to ``path``, which becomes its file, or to its file.

        The file can be read only by its owner, and is replaced whole or not at all. Raises
        :class:`ProfileError`.
        """
        with self._lock:
            file = self._path if path is None else path_of("path", path)
            if file is None:
                raise ProfileError("the profile has no file yet: give save() a path")
            try:
                write_atomically(file, pack_profile(self._stored), mode=0o600)
                for aside in files_aside(file) if self._is_reset and file == self._path else ():
                    aside.unlink(missing_ok=True)
            except ExportFailed as error:
                raise ProfileError(f"{error}: use another folder") from error
            except OSError as error:
                raise ProfileError(
                    f"{file}: {error.strerror}: {remedy_of(error, file.parent)}"
                ) from error
            self._path, self._is_reset = file, False

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
        """Forget all clips: the next one begins the profile. :meth:`save` empties its file, too,
        and deletes what was set aside."""
        with self._lock:
            self._stored, self._previous = StoredProfile("", EMPTY_PROFILE), None
            self._is_frozen = self._has_set_aside = False
            self._aside.clear()
            self._is_reset = True

    def forget(self) -> None:
        """Forget all clips, and delete the file and what was set aside, if it has a file. Raises
        :class:`ProfileError`."""
        self.reset()
        with self._lock:
            file, self._path = self._path, None
            if file is None:
                return
            try:
                for place in (file, *files_aside(file)):
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
            self._begin_again(self._stored.encoder, encoder.hex())
        elif not (self._stored.contents.count or self._is_frozen or self._is_reset):
            self._resume(encoder.hex())
        return self._stored.contents

    def _add(
        self, clip: ClipVoice, encoder: bytes, enrolment: Enrolment, timeout_s: float
    ) -> ProfileChange:
        last = Profile._contents_for(self, encoder) or EMPTY_PROFILE
        if last.count and last.mean.shape != clip.embedding.shape:
            self._begin_again(None, encoder.hex())
            last = EMPTY_PROFILE
        contents, change = profile_after(clip, last, enrolment)
        self._stored = StoredProfile(encoder.hex(), contents)
        return change

    def _begin_again(self, encoder: str | None, wanted: str) -> None:
        """Set the profile of ``encoder`` aside, and take up that of ``wanted`` or an empty one.
        ``encoder`` is ``None`` for a profile that no drafter of this release can use."""
        former = self._stored
        self._stored, self._previous = StoredProfile("", EMPTY_PROFILE), None
        self._has_set_aside = True
        if encoder is not None:
            self._aside[encoder] = former
        try:
            if self._path is not None and self._path.exists():
                set_aside(self._path, encoder, wanted)
            elif encoder is not None:
                _logger.warning("%s", other_encoder_message(encoder, wanted))
            if encoder is not None and not self._is_reset:
                self._take_up(wanted)
        except OSError as error:
            _logger.warning("%s cannot be set aside: %s", self._path, error.strerror)
            self._path = None  # save() without a path would overwrite it

    def _resume(self, encoder: str) -> None:
        """Take up a profile of ``encoder`` that was set aside when no other was saved."""
        if self._path is not None and can_take_up(self._path, encoder):
            try:
                self._take_up(encoder)
            except OSError as error:
                _logger.warning("%s cannot be taken up: %s", self._path, error.strerror)

    def _take_up(self, encoder: str) -> None:
        stored = self._aside.pop(encoder, None)
        if self._path is not None and take_up(self._path, encoder) and stored is None:
            try:
                stored = read_profile(self._path)
            except (DamagedProfile, OtherFormat, KeyFileError) as error:
                _logger.warning("%s: the profile cannot be read: %s", self._path, error)
        if stored is not None and stored.encoder == encoder:
            self._stored, self._has_set_aside = stored, False

    def _begin_in_child(self) -> None:
        self._lock, self.turn = Lock(), Slots()  # a thread of the parent may have held the others
        self._previous = None
