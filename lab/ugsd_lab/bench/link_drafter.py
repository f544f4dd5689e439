"""The bundled drafter as ``ugsd-lab bench link`` runs it: on an emulated device, with slots, or
without them as the paper's drafter.

Without slots a caption words the emotion alone: it is all that a verifier knows of a clip, and so
all that it can go on with. :class:`LongDraft` repeats it, in one wording after another, up to the
length of the paper's captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import NUM_OPENINGS, NUM_VARIANTS, CaptionPlan
from ugsd_sdk.drafter import NOT_CHOSEN, ConditionedClip, DrafterInfo, DraftSession, Prediction
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.slot_table import SlotTable

from ugsd_lab.bench.link_device import Device, DeviceSession
from ugsd_lab.errors import EvaluationError

__all__ = ["EmulatedDrafter", "LongDraft"]

_EMOTION_ALONE = CaptionPlan(CaptionLength.NORMAL, {})


class LongDraft:
    """A draft of exactly ``length`` tokens, the end marker included, which holds what a drafter
    predicted for captions in one wording after another. It goes on in the same way after any
    tokens."""

    def __init__(self, predictions: Sequence[Prediction], eos: int) -> None:
        """``predictions`` are those of ``length`` - 1 positions; the end marker follows."""
        end = np.full_like(predictions[0].logits, NOT_CHOSEN)
        end[eos] = 0
        self._predictions = [*predictions, Prediction(end, predictions[0].state)]
        self._tokens: list[int] = []

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        return self._predictions[min(len(self._tokens), len(self._predictions) - 1)]

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens.extend(tokens)

    def crop(self, length: int) -> None:
        del self._tokens[length:]


class EmulatedDrafter(OnnxDrafter):
    """The drafter in ``folder``, which drafts as slowly as ``device``."""

    def __init__(self, folder: Path, device: Device) -> None:
        super().__init__(folder)
        self._device = device
        self._length: int | None = None
        self._has_slots = True
        self._long: dict[bytes, list[Prediction]] = {}

    def use_slots(self) -> None:
        """Draft captions of slots, as the bundled drafters do."""
        self._has_slots = True

    def hide_slots(self, length: int | None) -> None:
        """Draft captions without slots: of ``length`` tokens with the end marker, or ``None`` for
        one sentence."""
        if length is not None and not 2 <= length <= self.info.max_tokens:
            raise EvaluationError(
                f"captions of {length} tokens: choose from 2 to {self.info.max_tokens}"
            )
        self._has_slots, self._length = False, length

    @property
    def slot_table(self) -> SlotTable:
        """The slots of the vocabulary, also while they are hidden."""
        table = super().info.slot_table
        assert table is not None  # noqa: S101  # every bundled drafter has slots
        return table

    @property
    def info(self) -> DrafterInfo:
        return super().info if self._has_slots else replace(super().info, slot_table=None)

    def start(  # type: ignore[override]  # a draft on the device is no OnnxDraftSession
        self, clip: ConditionedClip, *, emotion: str | None = None
    ) -> DraftSession:
        if self._has_slots:
            return DeviceSession(lambda: self._started(clip, emotion), self._device)
        clip = replace(clip, plan=replace(clip.plan or _EMOTION_ALONE, values={}))
        if self._length is None:
            return DeviceSession(lambda: self._started(clip, emotion), self._device)
        predictions = self._long_predictions(clip, self._length - 1)
        return DeviceSession(lambda: LongDraft(predictions, self.info.eos), self._device)

    def _started(self, clip: ConditionedClip, emotion: str | None) -> DraftSession:
        return super().start(clip, emotion=emotion)

    def _long_predictions(self, clip: ConditionedClip, count: int) -> list[Prediction]:
        """Return the predictions of ``count`` tokens, drafted once for each clip."""
        known = self._long.setdefault(clip.decoder_input.tobytes(), [])
        plan = clip.plan or _EMOTION_ALONE
        while len(known) < count:
            session = self._started(replace(clip, plan=plan), None)
            while (token := int(session.predict().choices.argmax())) != self.info.eos:
                known.append(session.predict())
                session.append([token])
            plan = replace(
                plan,
                opening=(plan.opening + 1) % NUM_OPENINGS,
                variant=(plan.variant + 1) % NUM_VARIANTS,
            )
        return known[:count]
