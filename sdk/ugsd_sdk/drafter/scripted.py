"""A drafter without weights, deterministic and instant, for tests of applications and of the SDK.

Its captions make no sense. Its distribution at a position depends on the seed and on every earlier
token, so that a wrong crop, a missing token or a stale cache changes the caption.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.drafter import ConditionedClip, DrafterInfo, Prediction
from ugsd_sdk.profile.matching import match_profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

__all__ = ["ScriptedDrafter", "ScriptedSession"]

Float32 = NDArray[np.float32]
EOS = 0
_SAMPLE_RATE = 16_000
_SEGMENTS = 16


class ScriptedSession:
    """A :class:`~ugsd_sdk.drafter.DraftSession`; ``steps`` counts its model runs."""

    def __init__(self, drafter: ScriptedDrafter, clip: ConditionedClip) -> None:
        self._drafter = drafter
        self._seed = int(np.abs(clip.decoder_input * 1e6).sum()) % 2**32
        self._tokens: list[int] = []
        self._predictions = [self._predicted()]
        self.steps = 1

    @property
    def tokens(self) -> Sequence[int]:
        return tuple(self._tokens)

    def predict(self) -> Prediction:
        return self._predictions[len(self._tokens)]

    def append(self, tokens: Sequence[int]) -> None:
        if len(self._tokens) + len(tokens) > self._drafter.info.max_tokens:
            raise ValueError("more tokens than the drafter holds")
        self.steps += 1
        for token in tokens:
            self._tokens.append(token)
            self._predictions.append(self._predicted())

    def crop(self, length: int) -> None:
        if length > len(self._tokens):
            raise ValueError("cannot crop to more tokens than there are")
        del self._tokens[length:]
        del self._predictions[length + 1 :]

    def _predicted(self) -> Prediction:
        info = self._drafter.info
        random = np.random.default_rng([self._drafter.seed, self._seed, *self._tokens])
        logits = random.normal(0, 2, self._drafter.vocabulary_size).astype(np.float32)
        if not self._tokens:
            logits[EOS] = -np.inf
        state = random.normal(size=info.state_dim).astype(np.float32)
        norm = float(np.linalg.norm(state))
        return Prediction(logits, state / np.float32(norm) if norm else state)


class ScriptedDrafter:
    """A :class:`~ugsd_sdk.drafter.Drafter` of the words ``w1 w2 ...``; token 0 is the end."""

    def __init__(
        self,
        *,
        seed: int = 0,
        vocabulary_size: int = 12,
        state_dim: int = 4,
        max_tokens: int = 24,
        ood_score: float = 1.0,
        profiles: bool = False,
        vocabulary: bytes | None = None,
        projection: bytes | None = None,
    ) -> None:
        """``vocabulary`` and ``projection`` are 32 bytes; by default they follow from the sizes.
        With ``profiles`` its clips update speaker profiles, which do not change captions.
        Then it knows a recording by how its level changes, and tells no speakers apart."""
        self.seed = seed
        self.vocabulary_size = vocabulary_size
        self._ood_score = ood_score
        self._profiles = profiles
        self._info = DrafterInfo(
            name="scripted",
            licence="CC0-1.0",
            vocabulary=vocabulary or sha256(f"words {vocabulary_size}".encode()).digest(),
            projection=projection or sha256(f"state {state_dim}".encode()).digest(),
            eos=EOS,
            state_dim=state_dim,
            max_tokens=max_tokens,
            sample_rate=_SAMPLE_RATE,
            audio_encoder=sha256(b"loudness").digest(),
        )

    @property
    def info(self) -> DrafterInfo:
        return self._info

    def load(self) -> None:
        return

    def close(self) -> None:
        return

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        samples = np.concatenate(list(speech))
        vector = np.array([_rms(samples)], dtype=np.float32)
        if not self._profiles:
            return ConditionedClip(vector, self._ood_score)
        voice = self.voice_of(samples)
        return ConditionedClip(
            vector, self._ood_score, voice=voice, profile_match=match_profile(voice, profile)
        )

    def voice_of(self, samples: Float32) -> ClipVoice:
        """Return what a profile stores of ``samples`` (n,): the levels of its segments."""
        levels = np.array([_rms(part) for part in np.array_split(samples, _SEGMENTS)])
        return ClipVoice(
            (levels / max(levels.max(), 1e-9)).astype(np.float32),
            duration_s=len(samples) / _SAMPLE_RATE,
        )

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> ScriptedSession:
        return ScriptedSession(self, clip)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self.piece(token) for token in tokens).strip()

    def piece(self, token: int) -> str:
        return "" if token == EOS else f" w{token}"


def _rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
