"""Whether the emotion's distribution is calibrated, and valence and arousal agree with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.evaluation.intervals import Measure, draws, interval, sums_by_speaker
from ugsd_lab.training.calibration_error import expected_calibration_error

__all__ = [
    "AROUSAL_SIGN",
    "VALENCE_SIGN",
    "Correlation",
    "EmotionCalibration",
    "emotion_calibration",
    "sign_correlation",
]

VALENCE_SIGN: Mapping[str, int] = {
    "happy": 1, "surprised": 1, "neutral": 0,
    "angry": -1, "fearful": -1, "sad": -1, "disgusted": -1, "bored": -1,
}  # fmt: skip
"""Side of the valence axis of Russell's circumplex (1980) on which an emotion lies; calm lies too
near to its middle."""
AROUSAL_SIGN: Mapping[str, int] = {
    "angry": 1, "fearful": 1, "happy": 1, "surprised": 1, "neutral": 0,
    "sad": -1, "bored": -1, "calm": -1,
}  # fmt: skip
"""Side of its arousal axis; disgust may lie on either."""


@dataclass(frozen=True)
class EmotionCalibration:
    """How well the confidence in the likeliest emotion predicts that it is right."""

    captions: int
    accuracy: float
    confidence: float
    """Mean probability of the likeliest emotion."""
    error: float
    """Expected calibration error, ten bins of equal size; NaN without captions."""


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of a derived value with the sign of the labels."""

    captions: int
    value: float
    low: float
    high: float
    """The ends of the 95 % interval over speakers."""


def emotion_calibration(
    distributions: Sequence[Mapping[str, float]], labels: Sequence[str]
) -> EmotionCalibration:
    """Return the calibration of ``distributions``, whose right emotions are ``labels``. Empty ones,
    of captions without an emotion, do not count."""
    pairs = [(own, label) for own, label in zip(distributions, labels, strict=True) if own]
    if not pairs:
        return EmotionCalibration(0, *[float("nan")] * 3)
    likeliest = [max(own, key=lambda name: own[name]) for own, _ in pairs]
    chance = np.array([own[name] for (own, _), name in zip(pairs, likeliest, strict=True)])
    right = np.array([name == label for (_, label), name in zip(pairs, likeliest, strict=True)])
    return EmotionCalibration(
        len(pairs),
        float(right.mean()),
        float(chance.mean()),
        expected_calibration_error(chance, right),
    )


def sign_correlation(
    speakers: Sequence[str],
    values: Sequence[float | None],
    labels: Sequence[str],
    signs: Mapping[str, int],
) -> Correlation:
    """Return the correlation of ``values`` with the ``signs`` of the emotions in ``labels``.
    ``None``, of captions without an emotion, does not count, and neither does a label without a
    sign."""
    rows = [
        (speaker, value, signs[label])
        for speaker, value, label in zip(speakers, values, labels, strict=True)
        if value is not None and label in signs
    ]
    if not rows:
        return Correlation(0, *[float("nan")] * 3)
    sums = sums_by_speaker(
        [speaker for speaker, _, _ in rows],
        [np.array((1, x, y, x * x, y * y, x * y)) for _, x, y in rows],
    )
    measure = Measure(sums, _correlation)
    return Correlation(len(rows), measure.value, *interval(measure.redrawn(draws(len(sums)))))


def _correlation(sums: NDArray[np.float64]) -> float:
    """Return Pearson's correlation from the sums of 1, x, y, xx, yy, xy."""
    count, x, y, xx, yy, xy = sums
    spread_x, spread_y = count * xx - x * x, count * yy - y * y
    if min(spread_x - 1e-9 * count * xx, spread_y - 1e-9 * count * yy) <= 0:
        return float("nan")  # one of them is constant
    return float((count * xy - x * y) / np.sqrt(spread_x * spread_y))
