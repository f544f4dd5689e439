"""A drafter and a verifier of one sentence, whose distributions over the emotions a test chooses.

A clip is a pair of distributions: ``q`` is the drafter's, ``p`` the verifier's. The verifier knows
the clip from the state alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import AskedSlot
from ugsd_sdk.attributes.plan import WORDED_VALUES
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter import NOT_CHOSEN, ConditionedClip, DrafterInfo, Prediction
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_server.verifier import VerifierInfo

__all__ = ["EOS", "EmotionClip", "EmotionDrafter", "EmotionScorer", "EmotionSession"]

Float32 = NDArray[np.float32]
EOS, THE, VOICE, SOUNDS, LOUDLY, STOP, BOS, _FIRST = range(8)
_NEXT = {None: THE, THE: VOICE, VOICE: SOUNDS, LOUDLY: STOP, STOP: EOS}
_SYNONYMS = 2
_PIECES = ["", "The", " voice", " sounds", ", loudly", ".", ""] + [
    f" {word}{emotion}" for emotion in EMOTIONS for word in ("", "quite-")
]
_STATING = tuple(
    tuple(range(_FIRST + _SYNONYMS * place, _FIRST + _SYNONYMS * (place + 1)))
    for place in range(len(EMOTIONS))
)
_CLAUSE = Slot.EMOTION
_DIM = 4
_MAX_TOKENS = 16


@dataclass(frozen=True)
class EmotionClip:
    """The distributions over the emotions for one clip."""

    q: tuple[float, ...]
    p: tuple[float, ...]


def _table() -> SlotTable:
    values: dict[Slot, dict[str, tuple[int, ...]]] = {
        slot: dict.fromkeys(WORDED_VALUES[slot], ()) for slot in Slot
    }
    values[_CLAUSE] = {
        emotion: (THE, VOICE, SOUNDS, *stating)
        for emotion, stating in zip(EMOTIONS, _STATING, strict=True)
    }
    stating_slots = [_CLAUSE] * (len(_PIECES) - _FIRST)
    slots = (None, _CLAUSE, _CLAUSE, _CLAUSE, Slot.LOUDNESS, None, None, *stating_slots)
    return SlotTable(slots, values)


@cache
def _logits(of_values: tuple[float, ...], shares: tuple[float, ...]) -> Float32:
    """Return logits (V,) of a position where an emotion is stated: each of its two tokens takes one
    of the ``shares``."""
    logits = np.full(len(_PIECES), NOT_CHOSEN, dtype=np.float32)
    for stating, probability in zip(_STATING, of_values, strict=True):
        for token, share in zip(stating, shares, strict=True):
            if probability > 0:
                logits[token] = np.log(probability * share)
    logits.setflags(write=False)
    return logits


class EmotionSession:
    """The draft of one clip."""

    def __init__(self, clip: EmotionClip, place: int, emotion: str | None = None) -> None:
        self._clip = clip
        self._given = None if emotion is None else EMOTIONS.index(emotion)
        self._state = np.eye(_DIM, dtype=np.float32)[place]
        self._tokens: list[int] = []

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        last = self._tokens[-1] if self._tokens else None
        logits = _logits(self._clip.q, (0.7, 0.3))
        is_choice = None
        if last == SOUNDS:  # a draft that is not drawn keeps to the likeliest emotion
            is_choice = np.zeros(len(_PIECES), dtype=np.bool_)
            named = int(np.argmax(self._clip.q)) if self._given is None else self._given
            is_choice[list(_STATING[named])] = True
        else:
            logits = np.zeros_like(logits)
            logits[_NEXT.get(last, LOUDLY)] = 9
        return Prediction(logits, self._state, is_choice)

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens += tokens

    def crop(self, length: int) -> None:
        del self._tokens[length:]


class EmotionDrafter:
    """A :class:`~ugsd_sdk.drafter.Drafter` that takes every recording for the first clip."""

    def __init__(self, clips: Sequence[EmotionClip]) -> None:
        assert len(clips) <= _DIM
        self._clips = clips
        self.info = DrafterInfo(
            name="emotions",
            licence="CC0-1.0",
            vocabulary=sha256(b"emotions").digest(),
            projection=sha256(b"clip").digest(),
            eos=EOS,
            state_dim=_DIM,
            max_tokens=_MAX_TOKENS,
            sample_rate=16_000,
            slot_table=_table(),
        )

    def load(self) -> None:
        return

    def close(self) -> None:
        return

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        list(speech)
        return ConditionedClip(np.zeros(1, dtype=np.float32), ood_score=1.0)

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> EmotionSession:
        return self.session(int(clip.decoder_input[0]), emotion)

    def session(self, place: int, emotion: str | None = None) -> EmotionSession:
        """Return a draft of the clip at ``place`` that names ``emotion``, if it is given."""
        return EmotionSession(self._clips[place], place, emotion)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(map(self.piece, tokens)).strip()

    def piece(self, token: int) -> str:
        return _PIECES[token] if 0 <= token < len(_PIECES) else ""


class _Inputs:
    """The clip of each input of a caption; ``None`` before a state."""

    def __init__(self) -> None:
        self.clips: list[int | None] = []

    @property
    def length(self) -> int:
        return len(self.clips)

    @property
    def nbytes(self) -> int:
        return len(self.clips)

    def crop(self, length: int) -> None:
        del self.clips[length:]


class EmotionScorer:
    """A :class:`~ugsd_server.verifier.CausalScorer` with the clips' ``p`` at every position."""

    def __init__(self, clips: Sequence[EmotionClip], drafter: DrafterInfo) -> None:
        self._clips = clips
        self.info = VerifierInfo(
            name="emotions",
            licence="CC0-1.0",
            vocabulary=drafter.vocabulary,
            projections=(drafter.projection,),
            bos=BOS,
            eos=EOS,
            vocabulary_size=len(_PIECES),
            state_dim=_DIM,
            max_tokens=_MAX_TOKENS,
            content_tokens=frozenset(range(_FIRST, len(_PIECES))),
            values={AskedSlot.EMOTION: _STATING},
        )

    def load(self) -> None:
        return

    def close(self) -> None:
        return

    def new_cache(self) -> _Inputs:
        return _Inputs()

    def extend(
        self,
        cache: _Inputs,
        tokens: NDArray[np.int64],
        states: Float32,
        has_state: Float32,
    ) -> Float32:
        rows = []
        for state, has in zip(states, has_state, strict=True):
            known = cache.clips[-1] if cache.clips else None
            cache.clips.append(int(np.argmax(state)) if has else known)
            place = cache.clips[-1]
            row = np.zeros(len(_PIECES), dtype=np.float32)
            if place is not None:
                row = _logits(self._clips[place].p, (0.4, 0.6)).copy()
                row[:_FIRST] = 1.0  # wording is likelier than any emotion, which must not matter
            rows.append(row)
        return np.stack(rows)
