"""What a caption added to a speaker profile, as a part of a checkpoint.

It is similar to a voiceprint, like the profile itself. Nothing of it is ever sent.
"""

from __future__ import annotations

import base64
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.profile.matching import Enrolment
from ugsd_sdk.profile.speaker_profile import ClipVoice
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.timelines.channel_profile import AddedClip

__all__ = ["StoredClip"]

Float32 = NDArray[np.float32]


class _Vectors(StrictModel):
    """Numbers of an array (n,) or (w, n), exactly."""

    shape: tuple[Annotated[int, Field(ge=0, le=1 << 16)], ...]
    data: str
    """Little-endian float32, in base64."""

    @classmethod
    def of(cls, array: Float32 | None) -> Self | None:
        if array is None:
            return None
        data = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
        return cls(shape=array.shape, data=data)

    def array(self) -> Float32:
        data = np.frombuffer(base64.b64decode(self.data, validate=True), "<f4")
        return data.reshape(self.shape).astype(np.float32)


class StoredClip(StrictModel):
    """A clip that was given to a speaker profile, and under which rule of enrolment."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    encoder: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    embedding: _Vectors
    duration_s: float
    voice: _Vectors | None
    windows: _Vectors | None
    femininity: float | None
    prosody: Prosody | None
    arousal: float | None
    """``None`` if it was no utterance that the next one is compared with."""
    min_clips: int
    min_duration_s: float

    @classmethod
    def of(cls, added: AddedClip | None) -> Self | None:
        """Return what is stored of a clip; ``None`` if none was added."""
        if added is None:
            return None
        voice, embedding = added.voice, _Vectors.of(added.voice.embedding)
        assert embedding is not None  # noqa: S101
        return cls(
            encoder=added.encoder.hex(),
            embedding=embedding,
            duration_s=voice.duration_s,
            voice=_Vectors.of(voice.voice),
            windows=_Vectors.of(voice.windows),
            femininity=voice.femininity,
            prosody=voice.prosody,
            arousal=None if added.utterance is None else added.utterance.arousal,
            min_clips=added.enrolment.min_clips,
            min_duration_s=added.enrolment.min_duration_s,
        )

    def clip(self) -> AddedClip:
        """Return the clip."""
        voice = ClipVoice(
            embedding=self.embedding.array(),
            duration_s=self.duration_s,
            voice=None if self.voice is None else self.voice.array(),
            windows=None if self.windows is None else self.windows.array(),
            femininity=self.femininity,
            prosody=self.prosody,
        )
        has_utterance = self.arousal is not None and self.prosody is not None
        return AddedClip(
            voice,
            bytes.fromhex(self.encoder),
            Enrolment(self.min_clips, self.min_duration_s),
            Utterance(self.prosody, self.arousal, 0.0) if has_utterance else None,  # type: ignore[arg-type]
        )
