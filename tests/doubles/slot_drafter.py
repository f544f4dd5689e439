"""A drafter with slots, whose caption is always the same: an emotion, a loudness and a pace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.attributes.plan import WORDED_VALUES
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo, Prediction
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

__all__ = [
    "ANGRY", "DOWNCAST", "DRAFT", "EOS", "FAST", "LOUDLY", "PIECES", "QUESTION", "SAD", "SOUNDS",
    "STOP", "THE", "VERY", "VOICE", "SlotDrafter", "SlotSession", "slot_table",
]  # fmt: skip

THE, VOICE, SOUNDS, SAD, ANGRY, LOUDLY, FAST, STOP, VERY, DOWNCAST = range(1, 11)
PIECES = ["", "The", " voice", " sounds", " sad", " angry", ", loudly", " and fast", ".", " very",
          " downcast"]  # fmt: skip
"""The text of each token. "Downcast" states the same emotion as "sad"."""
_FIRST = Slot.EMOTION
_SLOTS = (None, _FIRST, _FIRST, _FIRST, _FIRST, _FIRST, Slot.LOUDNESS, Slot.PACE, None,
          _FIRST, _FIRST)  # fmt: skip
_NEXT = {None: THE, THE: VOICE, VOICE: SOUNDS, SOUNDS: SAD, VERY: SAD, SAD: LOUDLY, ANGRY: LOUDLY,
         DOWNCAST: LOUDLY, LOUDLY: FAST, FAST: STOP, STOP: EOS}  # fmt: skip
"""The token that is drafted after each."""
QUESTION = (THE, VOICE, SOUNDS, SAD)
"""What is sent of the caption if a block is a slot's clause."""
DRAFT = "The voice sounds sad, loudly and fast."
_MAX_TOKENS = 20
_STATE_DIM = 2


def slot_table() -> SlotTable:
    """Return the slots of the vocabulary."""
    values: dict[Slot, dict[str, tuple[int, ...]]] = {
        slot: dict.fromkeys(WORDED_VALUES[slot], ()) for slot in Slot
    }
    shared: tuple[int, ...] = (THE, VOICE, SOUNDS, VERY)
    everyone = dict.fromkeys(WORDED_VALUES[_FIRST], shared)
    values[_FIRST] = everyone | {"sad": (*shared, SAD, DOWNCAST), "angry": (*shared, ANGRY)}
    return SlotTable(_SLOTS, values)


class SlotSession:
    """A draft that goes on in the same way after each token, and names ``emotion``."""

    def __init__(self, emotion: str | None = None) -> None:
        self._tokens: list[int] = []
        self._stating = ANGRY if emotion == "angry" else SAD

    @property
    def tokens(self) -> Sequence[int]:
        return tuple(self._tokens)

    def predict(self) -> Prediction:
        logits = np.zeros(len(PIECES), dtype=np.float32)
        following = _NEXT[self._tokens[-1] if self._tokens else None]
        logits[self._stating if following == SAD else following] = 9
        return Prediction(logits, np.full(_STATE_DIM, 0.5, dtype=np.float32))

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens += tokens

    def crop(self, length: int) -> None:
        del self._tokens[length:]


class SlotDrafter(ScriptedDrafter):
    """A :class:`~ugsd_sdk.drafter.Drafter` that hears sadness in every clip."""

    def __init__(self) -> None:
        super().__init__(vocabulary_size=len(PIECES), state_dim=_STATE_DIM, max_tokens=_MAX_TOKENS)

    @property
    def info(self) -> DrafterInfo:
        return replace(super().info, slot_table=slot_table())

    def encode(
        self, speech: Iterable[NDArray[np.float32]], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        emotion = dict.fromkeys(EMOTIONS, 0.3 / (len(EMOTIONS) - 1)) | {"sad": 0.7}
        return replace(super().encode(speech, profile), emotion=emotion)

    def start(  # type: ignore[override]
        self, clip: ConditionedClip, *, emotion: str | None = None
    ) -> SlotSession:
        return SlotSession(emotion)

    def piece(self, token: int) -> str:
        return PIECES[token] if token < len(PIECES) else ""
