"""All attributes of a recorded voice: what a caption knows, whether its text says it or not."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from ugsd_privacy.strict_models import DescribedModel

from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.slots import EMOTIONS, INTENSITIES, SLOT_VALUES, Slot

__all__ = ["ATTRIBUTE_VALUES", "UNITS", "Attributes", "unit_of"]

ATTRIBUTE_VALUES: Mapping[str, tuple[str, ...]] = {
    "emotion": EMOTIONS,
    "intensity": INTENSITIES,
    **{slot.value: values for slot, values in SLOT_VALUES.items() if slot is not Slot.EMOTION},
}
"""The values of each attribute, by the name of its field, in the order of the fields."""

UNITS: Mapping[str, str] = {
    "loudness": "dB",
    "pace": "syllables/s",
    "pitch": "semitones above 100 Hz",
    "variation": "semitones",
    "quality": "dB",
    "pauses": "s",
    "emphasis": "of the speech",
    "profile": "standard deviations of the speaker",
}
"""The unit of :attr:`Attribute.measured` by the name of the attribute; :func:`unit_of` has that of
a change, which depends on its value."""
_CHANGE_UNITS: Mapping[str, str] = {
    "louder": "dB",
    "quieter": "dB",
    "faster": "syllables/s",
    "slower": "syllables/s",
    "higher": "semitones",
    "lower": "semitones",
    "raised_end": "semitones",
}

_DECIMALS = 3
_MEASURED_DECIMALS = 2
_LEAST_PROBABILITY = 0.005
"""A smaller probability is left out of a distribution."""


def _rounded(number: float) -> float:
    return round(number, _DECIMALS) + 0.0  # without the sign of zero


_Signed = Annotated[float, Field(ge=-1, le=1), AfterValidator(_rounded)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_rounded)]


class Attributes(DescribedModel):
    """The attributes of a recorded voice.

    Numbers are rounded when they are given: probabilities, valence, arousal and seconds to three
    decimals, measured numbers to two. A probability below 0.005 is left out of its distribution.
    """

    emotion: Attribute = Attribute()
    """How the speaker seems to feel."""
    intensity: Attribute = Attribute()
    """How strongly the emotion shows."""
    loudness: Attribute = Attribute()
    """Vocal effort, whatever the microphone's gain. Measured: energy above 1 kHz over the energy
    below, in voiced speech."""
    pace: Attribute = Attribute()
    """How fast the speaker talks. Measured: syllables per second of speech, pauses left out."""
    pitch: Attribute = Attribute()
    """Median pitch, compared with other speakers of a voice that sounds as female or male."""
    variation: Attribute = Attribute()
    """How much the pitch rises and falls. Measured: its standard deviation."""
    quality: Attribute = Attribute()
    """Voice quality. Measured: the prominence of the cepstral peak, low for breathy voices."""
    pauses: Attribute = Attribute()
    """Pauses and their place. Measured: the longest."""
    change: Attribute = Attribute()
    """How the delivery changes from the first third of the speech to its last."""
    emphasis: Attribute = Attribute()
    """Where the strongest stress lies. Measured: from 0, the first speech, to 1, the last."""
    profile: Attribute = Attribute()
    """The difference from how the speaker usually sounds, by the speaker profile."""
    previous: Attribute = Attribute()
    """The difference from the speaker's utterance before."""
    valence: _Signed | None = None
    """How pleasant the feeling is, from -1 to 1: the expected position on the circumplex of affect
    (Russell 1980, https://doi.org/10.1037/h0077714) under the device's distribution of the emotion.
    Null without a distribution, and if the verifier chose another emotion."""
    arousal: _Signed | None = None
    """How aroused the speaker is, from -1 to 1: the expected position on the same circumplex."""
    pause_spans: tuple[tuple[_Seconds, _Seconds], ...] = ()
    """Start and end of each pause in seconds of the recording, in order."""

    @classmethod
    def unknown(cls) -> Self:
        """Return the attributes of a recording without speech: nothing is known."""
        return cls()

    @field_validator(*ATTRIBUTE_VALUES)
    @classmethod
    def _check_values(cls, attribute: Attribute, info: ValidationInfo) -> Attribute:
        values = ATTRIBUTE_VALUES[str(info.field_name)]
        if not {*attribute.distribution} <= {*values}:
            raise ValueError("the distribution has a value that this attribute does not have")
        if attribute.value is None and attribute.is_said:
            raise ValueError("an attribute without a value cannot be said")
        if not (attribute.value is None or attribute.value in values):
            raise ValueError(f"the value must be one of {', '.join(values)}")
        return _rounded_attribute(attribute, values)

    @field_validator("pause_spans")
    @classmethod
    def _check_spans(
        cls, spans: tuple[tuple[float, float], ...]
    ) -> tuple[tuple[float, float], ...]:
        edges = [edge for span in spans for edge in span]
        if edges != sorted(edges):
            raise ValueError("pauses must be in order, and each must end after its start")
        return spans

    def by_name(self) -> dict[str, Attribute]:
        """Return each attribute by the name of its field, in the order of the fields."""
        return {name: getattr(self, name) for name in ATTRIBUTE_VALUES}

    def joint_confidence(self) -> float | None:
        """Return the probability that everything that the text says is right, if its claims are
        independent: the product of their confidences.

        ``None`` if the text says nothing, and if the verifier decided any of it, because its
        probability is not sent.
        """
        said = [one for one in self.by_name().values() if one.is_said]
        if not said or any(one.decided_by is DecidedBy.VERIFIER for one in said):
            return None
        known = [one.confidence for one in said if one.confidence is not None]
        return _rounded(prod(known)) if len(known) == len(said) else None


def unit_of(name: str, value: str | None) -> str | None:
    """Return the unit of the measured number of the attribute ``name`` that has ``value``; ``None``
    if it has none."""
    is_difference = name in (Slot.CHANGE, Slot.PREVIOUS)
    return _CHANGE_UNITS.get(value or "") if is_difference else UNITS.get(name)


def _rounded_attribute(attribute: Attribute, values: tuple[str, ...]) -> Attribute:
    given = attribute.distribution
    kept = {v: _rounded(given[v]) for v in values if given.get(v, 0) >= _LEAST_PROBABILITY}
    confidence, measured = attribute.confidence, attribute.measured
    return attribute.model_copy(
        update={
            "confidence": None if confidence is None else _rounded(confidence),
            "distribution": kept,
            "measured": None if measured is None else round(measured, _MEASURED_DECIMALS) + 0.0,
        }
    )
