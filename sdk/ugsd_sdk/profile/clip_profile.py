"""How one caption uses a speaker profile, what blocks states, and what the profile becomes."""

from __future__ import annotations

from enum import StrEnum

from ugsd_privacy.reasons import ReasonCode

from ugsd_sdk.profile.matching import Enrolment, ProfileChange, ProfileMatch, match_profile
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.profile.usual_prosody import NO_PROSODY, UsualProsody
from ugsd_sdk.profile.utterance import Utterance

__all__ = ["ClipProfile", "ProfileUse"]


class ProfileUse(StrEnum):
    """How a speaker profile was used for a caption."""

    NONE = "none"
    """There is no profile: the user is not named and none was passed, the recording holds no
    speech, or the drafter uses no profiles."""
    ENROLLING = "enrolling"
    """The profile, if it has clips, was used; it does not hold enough yet for states to be
    sent."""
    USED = "used"
    """The profile was used, and holds enough."""
    DIFFERENT_SPEAKER = "different_speaker"
    """The clip does not sound like the profile's speaker. It was captioned as that of an unknown
    speaker."""
    SEVERAL_SPEAKERS = "several_speakers"
    """The clip sounds like several speakers. It was captioned as that of an unknown speaker, and
    the caption describes a mixture of them."""
    OTHER_ENCODER = "other_encoder"
    """The profile is frozen or belongs to another captioner, and another audio encoder made it. It
    was not used."""


class ClipProfile:
    """What one caption reads from a profile at its start, and returns to it at its end.

    Everything before :meth:`add` depends on the profile's contents at the start.
    """

    def __init__(self, profile: Profile | None, encoder: bytes, enrolment: Enrolment) -> None:
        """``encoder`` identifies what makes the drafter's vectors."""
        self._profile = profile
        self._encoder = encoder
        self._enrolment = enrolment
        contents, previous = (
            (EMPTY_PROFILE, None) if profile is None else profile.state_for(encoder)
        )
        self._is_unusable = contents is None
        self.contents: SpeakerProfile = EMPTY_PROFILE if contents is None else contents
        """What is known of the speaker before this clip."""
        self._only_compares = profile is not None and profile.only_compares
        self._previous = previous
        self.has_set_aside = profile is not None and profile.has_set_aside

    @property
    def conditioning(self) -> SpeakerProfile:
        """What the drafter reads of the profile: nothing of one that is only compared with."""
        return EMPTY_PROFILE if self._only_compares else self.contents

    def match(self, voice: ClipVoice | None, found: ProfileMatch) -> ProfileMatch:
        """Return how a clip with ``voice`` relates to the profile; the drafter has ``found`` how it
        relates to :attr:`conditioning`."""
        if not self._only_compares or voice is None:
            return found
        return match_profile(voice, self.contents)

    def use(self, voice: ClipVoice | None, match: ProfileMatch) -> ProfileUse:
        """Return how the profile was used for a clip with ``voice``."""
        if voice is None:
            return ProfileUse.NONE
        if match is ProfileMatch.SEVERAL_SPEAKERS:
            return ProfileUse.SEVERAL_SPEAKERS
        if self._profile is None:
            return ProfileUse.NONE
        if self._is_unusable:
            return ProfileUse.OTHER_ENCODER
        if match is ProfileMatch.DIFFERENT_SPEAKER:
            return ProfileUse.DIFFERENT_SPEAKER
        is_used = match is ProfileMatch.MATCHED and self._enrolment.is_reached(self.contents)
        return ProfileUse.USED if is_used else ProfileUse.ENROLLING

    def blocked_reason(self, voice: ClipVoice | None, match: ProfileMatch) -> ReasonCode | None:
        """Return why no state of the clip may be sent; ``None`` if it may.

        A drafter that uses no profile needs no enrolment: its states would reveal as much after it.
        With a ``min_enrolment`` of 0 the states of unknown speakers may be sent, and so may those
        of a clip that does not fit the profile.
        """
        use = self.use(voice, match)
        if voice is None or (use is ProfileUse.USED and not self._only_compares):
            return None
        if use is ProfileUse.SEVERAL_SPEAKERS:
            return ReasonCode.SEVERAL_SPEAKERS
        if not self._enrolment.min_clips:
            return None
        if use is ProfileUse.DIFFERENT_SPEAKER:
            return ReasonCode.DIFFERENT_SPEAKER
        has_none = self._profile is None or self._only_compares
        return ReasonCode.NO_PROFILE if has_none else ReasonCode.NOT_ENROLLED

    def femininity(self, voice: ClipVoice | None, match: ProfileMatch) -> float | None:
        """Return the log-odds that the speaker sounds female: over the profile's clips and this one
        if it belongs to them, otherwise of this one; ``None`` for several speakers."""
        if voice is None or match is ProfileMatch.SEVERAL_SPEAKERS:
            return None
        if match is ProfileMatch.MATCHED:
            return self.contents.femininity_with(voice)
        return voice.femininity

    def usual(self, match: ProfileMatch) -> UsualProsody:
        """Return how the speaker usually sounds; empty for a clip that does not belong to the
        profile."""
        return self.contents.usual if match is ProfileMatch.MATCHED else NO_PROSODY

    def previous(self, match: ProfileMatch) -> Utterance | None:
        """Return the speaker's utterance before; ``None`` for a clip that does not belong to the
        profile."""
        return self._previous if match is ProfileMatch.MATCHED else None

    def add(
        self, voice: ClipVoice | None, *, timeout_s: float, utterance: Utterance | None = None
    ) -> ProfileChange:
        """Add the clip to the profile if it belongs to it; ``utterance`` is then the speaker's
        previous one for the next caption."""
        if self._profile is None or voice is None:
            return ProfileChange.NONE
        return self._profile.add(
            voice, self._encoder, self._enrolment, timeout_s=timeout_s, utterance=utterance
        )
