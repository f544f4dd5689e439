"""A drafter that says what a test lets it say of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo, Prediction
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

Float32 = NDArray[np.float32]

WORDS = ("", "A", "speaker", "sounds", "happy", "sad", "and", "angry")
"""Token 0 ends a caption."""


@dataclass(frozen=True)
class Heard:
    """What the drafter knows of a recording."""

    duration_s: float
    peak: float
    profile_clips: int


class SpokenDrafter:
    """Its audio embeddings are duration in seconds and peak; ``encoded`` counts recordings."""

    def __init__(self, say: Callable[[Heard], str]) -> None:
        self._say = say
        self.encoded = 0
        self.profiles: list[SpeakerProfile] = []
        self.info = DrafterInfo(
            name="spoken", licence="CC0-1.0", vocabulary=bytes(32), projection=bytes(32), eos=0,
            state_dim=2, max_tokens=12, sample_rate=16_000, audio_encoder=bytes(32),
        )  # fmt: skip

    def load(self) -> None: ...

    def close(self) -> None: ...

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        self.encoded += 1
        samples = np.concatenate(list(speech))
        heard = [len(samples) / 16_000, float(np.abs(samples).max())]
        return ConditionedClip(
            np.zeros(3, np.float32), 1.0, voice=ClipVoice(np.array(heard, dtype=np.float32))
        )

    def condition(
        self, unnormalised: Float32, profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        self.profiles.append(profile)
        vector = np.append(unnormalised, np.float32(profile.count))
        return ConditionedClip(vector, 1.0, voice=ClipVoice(unnormalised))

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> _Session:
        duration_s, peak, count = clip.decoder_input.tolist()
        text = self._say(Heard(duration_s, peak, int(count)))
        return _Session([WORDS.index(word) for word in text.split()])

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(map(self.piece, tokens)).strip()

    def piece(self, token: int) -> str:
        return f" {WORDS[token]}" if token else ""


class _Session:
    def __init__(self, caption: Sequence[int]) -> None:
        self._caption = caption
        self._tokens: list[int] = []

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        at = len(self._tokens)
        token = self._caption[at] if at < len(self._caption) else 0
        logits = np.zeros(len(WORDS), dtype=np.float32)
        logits[token] = 9
        return Prediction(logits, np.array([1, 0], dtype=np.float32))

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens += tokens

    def crop(self, length: int) -> None:
        del self._tokens[length:]
