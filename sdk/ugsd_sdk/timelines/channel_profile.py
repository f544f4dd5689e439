"""The speaker profile of one channel: another profile, with the clock of the recording, which
notes every clip that it was given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic

from ugsd_sdk.attributes.relations import MAX_SECONDS_BETWEEN
from ugsd_sdk.profile.matching import Enrolment, ProfileChange
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.speaker_profile import ClipVoice, SpeakerProfile
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.profile.utterance import Utterance

__all__ = ["AddedClip", "ChannelProfile"]


@dataclass(frozen=True)
class AddedClip:
    """A clip that a caption gave to the profile."""

    voice: ClipVoice
    encoder: bytes
    enrolment: Enrolment
    utterance: Utterance | None


class ChannelProfile(Profile):
    """Passes everything on to ``source``, and remembers the utterance before by the time of the
    recording: captions of a file are made faster, or slower, than people speak."""

    def __init__(self, source: Profile) -> None:
        super().__init__(only_compares=source.only_compares)
        self.turn = source.turn
        self.source = source
        self.added: AddedClip | None = None
        """What the last caption added, or offered to add."""
        self._last: Utterance | None = None
        self._last_end_s = self._end_s = 0.0

    @property
    def is_frozen(self) -> bool:
        """Whether ``source`` is frozen."""
        return self.source.is_frozen

    def begin(self, end_s: float) -> None:
        """Begin an utterance that ends at ``end_s`` of the recording."""
        self.added = None
        self._end_s = end_s

    def takes(self, clip: AddedClip) -> bool:
        """Return whether the vectors of ``clip`` have the lengths of those in the profile."""
        known = self.source.contents_for(clip.encoder)
        return known is None or not known.count or known.mean.shape == clip.voice.embedding.shape

    def repeat(self, clip: AddedClip) -> None:
        """Add a clip that was captioned before, in another process. A profile that is stored with
        every clip has it already."""
        if isinstance(self.source, UserProfile) and self.source.path is not None:
            self._last, self._last_end_s = clip.utterance, self._end_s
            return
        self.add(clip.voice, clip.encoder, clip.enrolment, utterance=clip.utterance)

    def contents_for(self, encoder: bytes) -> SpeakerProfile | None:
        """Return what ``source`` knows of the speaker."""
        return self.source.contents_for(encoder)

    def state_for(self, encoder: bytes) -> tuple[SpeakerProfile | None, Utterance | None]:
        """Return what ``source`` knows of the speaker, and the utterance before."""
        return self.source.contents_for(encoder), self.previous_utterance()

    def previous_utterance(self) -> Utterance | None:
        """Return the utterance before, if it ended at most a minute before this one, and as if it
        had ended just now."""
        is_near = self._end_s - self._last_end_s <= MAX_SECONDS_BETWEEN
        if self._last is None or not is_near or self.source.is_frozen:
            return None
        return replace(self._last, ended_s=monotonic())

    def add(
        self,
        clip: ClipVoice,
        encoder: bytes,
        enrolment: Enrolment,
        *,
        timeout_s: float = 2.0,
        utterance: Utterance | None = None,
    ) -> ProfileChange:
        """Add a clip to ``source``, by its rules."""
        self.added = AddedClip(clip, encoder, enrolment, utterance)
        change = self.source.add(clip, encoder, enrolment, timeout_s=timeout_s, utterance=utterance)
        if change is not ProfileChange.NONE:
            self._last, self._last_end_s = utterance, self._end_s
        return change
