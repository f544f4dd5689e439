"""Captions of recordings as the device makes them, for a speaker profile that the caller gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.caption import NO_SPEECH, Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter import ConditionedClip, Drafter, DrafterInfo, DraftSession
from ugsd_sdk.profile.matching import ProfileMatch, match_profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.speech.reader import SpeechDetector, WholeRecording
from ugsd_sdk.speech.spans import MIN_SPEECH_S, SAMPLE_RATE

from ugsd_lab.errors import EvaluationError

__all__ = ["ConditioningDrafter", "ProfiledCaptioner", "ProfiledCaptions"]

Float32 = NDArray[np.float32]


class ConditioningDrafter(Drafter, Protocol):
    """A drafter that can apply a speaker profile to an embedding that it made earlier."""

    def condition(
        self, unnormalised: Float32, profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip: ...


@dataclass(frozen=True)
class ProfiledCaptions:
    """The captions of one recording."""

    enrolled: Caption
    """With the speaker profile."""
    unenrolled: Caption
    """Without it."""
    voice: ClipVoice | None
    """What updates the profile; ``None`` if no speech was found."""


class ProfiledCaptioner:
    """Captions each recording with a given profile and without one, and encodes it only once.

    The first caption is an offline :class:`~ugsd_sdk.captioner.Captioner`'s from samples to text;
    the second one repeats only what comes after the audio encoder: the emotion. It words nothing
    that was measured.
    """

    def __init__(
        self, drafter: ConditioningDrafter, *, detector: SpeechDetector | None = None
    ) -> None:
        """The drafter is loaded by :meth:`load` and closed by :meth:`close`."""
        self._drafter = _EncodesOnce(drafter)
        self._listens = Captioner(self._drafter, detector=detector)
        self._repeats = Captioner(self._drafter, detector=WholeRecording())
        self._placeholder = np.zeros(int(MIN_SPEECH_S * SAMPLE_RATE), dtype=np.float32)

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> None:
        """Read the weights. Raises :class:`ModelError`."""
        self._listens.load()
        self._repeats.load()

    def close(self) -> None:
        """Free the models."""
        with ExitStack() as closing:
            closing.callback(self._repeats.close)
            closing.callback(self._listens.close)

    def caption(self, recording: Float32, profile: SpeakerProfile) -> ProfiledCaptions:
        """Caption ``recording``, mono (n,) at 16 kHz, of a speaker with ``profile``.

        Raises :class:`AudioError`, :class:`ModelError`, or :class:`EvaluationError` for a drafter
        that uses no profile.
        """
        self._drafter.begin(profile)
        enrolled = self._listens.caption(recording, SAMPLE_RATE)
        if enrolled.text == NO_SPEECH:
            return ProfiledCaptions(enrolled, enrolled, None)
        self._drafter.profile = EMPTY_PROFILE
        unenrolled = self._repeats.caption(self._placeholder, SAMPLE_RATE)
        return ProfiledCaptions(enrolled, unenrolled, self._drafter.voice)


class _EncodesOnce(Drafter):
    """A drafter that encodes the first recording after :meth:`begin` and then conditions the same
    embedding on whatever :attr:`profile` is set, if the recording belongs to it."""

    def __init__(self, drafter: ConditioningDrafter) -> None:
        self._drafter = drafter
        self.profile = EMPTY_PROFILE
        self.voice: ClipVoice | None = None

    def begin(self, profile: SpeakerProfile) -> None:
        self.profile, self.voice = profile, None

    @property
    def info(self) -> DrafterInfo:
        return self._drafter.info

    def load(self) -> None:
        self._drafter.load()

    def close(self) -> None:
        self._drafter.close()

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        if self.voice is None:
            self.voice = self._drafter.encode(speech).voice
            if self.voice is None:
                raise EvaluationError("the drafter uses no speaker profile: name another one")
        match = match_profile(self.voice, self.profile)
        used = self.profile if match is ProfileMatch.MATCHED else EMPTY_PROFILE
        return self._drafter.condition(self.voice.embedding, used)

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession:
        return self._drafter.start(clip, emotion=emotion)

    def text(self, tokens: Sequence[int]) -> str:
        return self._drafter.text(tokens)

    def piece(self, token: int) -> str:
        return self._drafter.piece(token)
