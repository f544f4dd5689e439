"""What is known of a voice before a word is drafted, and what it becomes when words are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ugsd_sdk.attributes.affect import (
    arousal_of,
    emotion_attribute,
    intensity_attribute,
    valence_of,
)
from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.measured import measured_attributes
from ugsd_sdk.attributes.plan import MEASURED_SLOTS, UNGRADED, CaptionPlan, caption_plan
from ugsd_sdk.attributes.relations import relation_to_previous, relation_to_profile
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.profile.usual_prosody import UsualProsody
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody

__all__ = ["VoiceDescription"]


@dataclass(frozen=True)
class VoiceDescription:
    """The attributes of a voice, of which the text says some."""

    attributes: Mapping[Slot, Attribute]
    """Every slot has one."""
    intensity: Attribute = field(default_factory=Attribute)
    valence: float | None = None
    pause_spans: tuple[tuple[float, float], ...] = ()
    utterance: Utterance | None = None
    """What the speaker's next utterance is compared with; ``None`` if nothing was measured."""

    @classmethod
    def of(
        cls,
        emotion: Mapping[str, float] | None,
        strong: float | None,
        prosody: Prosody | None,
        *,
        femininity: float | None,
        usual: UsualProsody,
        previous: Utterance | None,
        now_s: float,
    ) -> Self:
        """Return the description of a clip: from the probability of each emotion, the probability
        that it is strong, what was measured, and what is known of the speaker. ``now_s`` is the
        time at which the utterance ended, on the clock of ``previous``."""
        attributes = {slot: Attribute() for slot in Slot}
        attributes[Slot.EMOTION] = emotion_attribute(emotion)
        utterance = None
        if prosody is not None:
            utterance = Utterance(prosody, arousal_of(emotion) or 0.0, now_s)
            attributes |= measured_attributes(prosody, femininity)
            attributes[Slot.PROFILE] = relation_to_profile(prosody, usual)
            attributes[Slot.PREVIOUS] = relation_to_previous(utterance, previous)
        pauses = () if prosody is None else prosody.pauses
        return cls(
            attributes,
            intensity_attribute(strong),
            valence_of(emotion),
            tuple((pause.start_s, pause.end_s) for pause in pauses),
            utterance,
        )

    def plan(self, length: CaptionLength, drawn_from: str) -> CaptionPlan:
        """Return what a caption of ``length`` words, in a wording drawn from a text."""
        return caption_plan(self.attributes, self.intensity, length, drawn_from)

    def worded(self, plan: CaptionPlan, emotion: str | None, decided_by: DecidedBy) -> Attributes:
        """Return the attributes of a caption that words ``plan`` and names ``emotion``, which the
        device or the verifier decided. Valence and arousal follow from the device's distribution,
        and would contradict an emotion that the verifier chose instead."""
        named = {
            slot.value: self.attributes[slot].model_copy(update={"is_said": slot in plan.values})
            for slot in MEASURED_SLOTS
        }
        own = self.attributes[Slot.EMOTION]
        is_device = decided_by is DecidedBy.DEVICE
        named[Slot.EMOTION.value] = own.model_copy(
            update={
                "value": emotion or own.value,
                "confidence": own.distribution.get(emotion or "") if is_device else None,
                "decided_by": decided_by,
                "is_said": emotion is not None,
            }
        )
        return Attributes(
            **named,
            intensity=self.intensity.model_copy(
                update={"is_said": plan.is_strong and emotion not in UNGRADED}
            ),
            valence=self.valence if is_device else None,
            arousal=arousal_of(own.distribution) if is_device else None,
            pause_spans=self.pause_spans,
        )
