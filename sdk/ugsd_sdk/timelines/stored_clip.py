"""What a caption added to a speaker profile, as a part of a checkpoint.

It is similar to a voiceprint, like the profile itself. Nothing of it is ever sent.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.profile.matching import Enrolment
from ugsd_sdk.profile.speaker_profile import ClipVoice
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.timelines.channel_profile import AddedClip

__all__ = ["StoredClip"]

_MAX_MAGNITUDE = 1e6
"""As in a stored profile."""
_MAX_DURATION_S = 1e6
_Seconds = Annotated[float, Field(ge=0, le=_MAX_DURATION_S)]
_Finite = Annotated[float, Field(ge=-_MAX_MAGNITUDE, le=_MAX_MAGNITUDE)]
Float32 = NDArray[np.float32]


class _Vectors(StrictModel):
    """Numbers of an array (n,) or (w, n), exactly."""

    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...], Field(max_length=2)]
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

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if not (np.abs(self.array()) <= _MAX_MAGNITUDE).all():  # also if they are not numbers
            raise ValueError("it holds numbers that no encoder returns")
        return self


class StoredClip(StrictModel):
    """A clip that was given to a speaker profile, and under which rule of enrolment."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    encoder: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    embedding: _Vectors
    duration_s: _Seconds
    voice: _Vectors | None
    windows: _Vectors | None
    femininity: _Finite | None
    prosody: Prosody | None
    arousal: Annotated[float, Field(ge=-1, le=1)] | None
    """``None`` if it was no utterance that the next one is compared with."""
    min_clips: Annotated[int, Field(ge=0)]
    min_duration_s: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _fits_a_profile(self) -> Self:
        vectors = (self.embedding, self.voice, self.windows)
        ranks = tuple(None if one is None else len(one.shape) for one in vectors)
        if ranks not in {(1, None, None), (1, 1, None), (1, 1, 2)}:
            raise ValueError("its vectors have other shapes than those of a clip")
        if self.voice and self.windows and self.windows.shape[1:] != self.voice.shape:
            raise ValueError("its voice vectors have different lengths")
        if self.prosody is not None and not _is_finite(dataclasses.asdict(self.prosody)):
            raise ValueError("its prosody holds numbers that nothing measures")
        return self

    @property
    def dimensions(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that all clips of one encoder share."""
        return self.embedding.shape, () if self.voice is None else self.voice.shape

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


def _is_finite(value: Any) -> bool:
    """Return whether all numbers in nested dictionaries and tuples are finite and not huge."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return all(map(_is_finite, value))
    return value is None or (math.isfinite(value) and abs(value) <= _MAX_DURATION_S)
