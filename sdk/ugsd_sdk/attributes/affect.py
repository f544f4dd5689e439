"""The emotion, its strength, and the valence and arousal that follow from it."""

from __future__ import annotations

from collections.abc import Mapping

from ugsd_sdk.attributes.attribute import Attribute

__all__ = ["CIRCUMPLEX", "arousal_of", "emotion_attribute", "intensity_attribute", "valence_of"]

CIRCUMPLEX: Mapping[str, tuple[int, int]] = {
    "neutral": (0, 0), "calm": (1, -1), "happy": (1, 1), "sad": (-1, -1), "angry": (-1, 1),
    "fearful": (-1, 1), "disgusted": (-1, 0), "surprised": (0, 1), "bored": (-1, -1),
}  # fmt: skip
"""Valence and arousal of each emotion: the quadrant or half of the circumplex of affect in which it
lies (Russell 1980, https://doi.org/10.1037/h0077714)."""


def emotion_attribute(distribution: Mapping[str, float] | None) -> Attribute:
    """Return the likeliest emotion of a distribution; no value without one."""
    if not distribution:
        return Attribute()
    value = max(distribution, key=distribution.__getitem__)
    return Attribute(value=value, confidence=distribution[value], distribution=dict(distribution))


def intensity_attribute(strong: float | None) -> Attribute:
    """Return the strength for the probability that the emotion is strong."""
    if strong is None:
        return Attribute()
    distribution = {"moderate": 1 - strong, "strong": strong}
    value = max(distribution, key=distribution.__getitem__)
    return Attribute(value=value, confidence=distribution[value], distribution=distribution)


def valence_of(distribution: Mapping[str, float] | None) -> float | None:
    """Return the expected valence, from -1 to 1."""
    return _expected(distribution, 0)


def arousal_of(distribution: Mapping[str, float] | None) -> float | None:
    """Return the expected arousal, from -1 to 1."""
    return _expected(distribution, 1)


def _expected(distribution: Mapping[str, float] | None, axis: int) -> float | None:
    if not distribution:
        return None
    sum_ = sum(CIRCUMPLEX[emotion][axis] * share for emotion, share in distribution.items())
    return max(-1.0, min(1.0, sum_))
