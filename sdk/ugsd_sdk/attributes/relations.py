"""How a clip differs from how its speaker usually sounds, and from the utterance before.

Each measure has an error, and so has an average of few clips. A difference is stated with the
probability that the true one is as large as the statement says; errors are taken to be normal and
independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute
from ugsd_sdk.profile.speaker_profile import MEMORY_CLIPS
from ugsd_sdk.profile.usual_prosody import UsualMeasure, UsualProsody
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody

__all__ = [
    "AROUSAL_ERROR",
    "EFFORT_ERROR_DB",
    "MAX_SECONDS_BETWEEN",
    "MIN_AROUSAL_DIFFERENCE",
    "MIN_USUAL_CLIPS",
    "NOTICEABLE_EFFORT_DB",
    "NOTICEABLE_PACE_SHARE",
    "NOTICEABLE_PITCH_ST",
    "PACE_ERROR",
    "PITCH_ERROR_ST",
    "Difference",
    "noticeable_pace",
    "relation_to_previous",
    "relation_to_profile",
]

PITCH_ERROR_ST = 0.7
"""Standard error of a clip's median pitch, in semitones."""
PACE_ERROR = 0.5
"""Standard error of a clip's pace, in syllables per second."""
EFFORT_ERROR_DB = 1.0
"""Standard error of a clip's vocal effort, in dB."""
AROUSAL_ERROR = 0.2
"""Standard error of the arousal that is derived from a clip's emotion."""

NOTICEABLE_PITCH_ST = 2.0
"""Difference of pitch that a listener notices, in semitones."""
NOTICEABLE_PACE_SHARE = 0.15
"""Difference of pace that a listener notices, relative to the pace before."""
_MIN_PACE = 1.0
"""For slower speech than one syllable per second a share of the pace is no noticeable amount."""
NOTICEABLE_EFFORT_DB = 3.0
"""Difference of vocal effort that a listener notices, in dB."""

_PRIOR_LIMITS = 1.5
"""Standard deviation of the true differences between clips, in units of the difference that is
worth mentioning. A large measured difference is more often too large than too small; without this
prior, statements of pace, whose error is large, would be too confident."""

MIN_USUAL_CLIPS = 5
"""Least number of clips with a measure before anything is called usual or unusual in it."""
MIN_AROUSAL_DIFFERENCE = 0.4
"""Least difference of arousal, on a scale from -1 to 1, that is called calmer or more agitated."""
MAX_SECONDS_BETWEEN = 60.0
"""Longest time between two utterances that are compared."""


@dataclass(frozen=True)
class Difference:
    """A difference of one measure, and what it says about the true one."""

    more: str
    less: str
    value: float
    """The measured difference."""
    error: float
    """Its standard error."""
    limit: float
    """A true difference beyond it, in either direction, is worth mentioning."""
    unit: float = 1.0
    """What :attr:`measured` counts in."""

    @property
    def direction(self) -> str:
        """The word for the sign of the measured difference."""
        return self.more if self.value >= 0 else self.less

    @property
    def measured(self) -> float:
        """The measured difference in units."""
        return self.value / self.unit

    @property
    def p_more(self) -> float:
        """Probability that the true difference is above the limit."""
        return self._p_beyond(self.value)

    @property
    def p_less(self) -> float:
        """Probability that the true difference is below minus the limit."""
        return self._p_beyond(-self.value)

    @property
    def p_direction(self) -> float:
        """The larger of both."""
        return max(self.p_more, self.p_less)

    @property
    def p_within(self) -> float:
        """Probability that the true difference is within the limit."""
        return max(0.0, 1 - self.p_more - self.p_less)

    def _p_beyond(self, value: float) -> float:
        """The posterior of a normal prior and a normal error, above the limit."""
        share = 1 / (1 + (self.error / (_PRIOR_LIMITS * self.limit)) ** 2)
        return _normal_cdf((share * value - self.limit) / (math.sqrt(share) * self.error))


def relation_to_profile(prosody: Prosody, usual: UsualProsody) -> Attribute:
    """Return the difference from how the speaker usually sounds, for the slot ``PROFILE``.

    A measure is "higher", "faster", "louder" or the opposite if the difference exceeds both the
    speaker's own standard deviation and what a listener notices. The most certain direction is
    stated, and a second one if both together are still certain enough to be worded. "usual" needs
    all three measures within these limits. ``measured`` is the difference of the most certain
    direction in standard deviations of the speaker. There is no value for a profile of fewer than
    five clips, and none if no statement is more likely than not.
    """
    found = [
        one
        for one in (
            _from_usual(
                "higher", "lower", prosody.pitch_st, usual.pitch_st,
                error=PITCH_ERROR_ST, noticeable=NOTICEABLE_PITCH_ST,
            ),
            _from_usual(
                "faster", "slower", prosody.pace, usual.pace,
                error=PACE_ERROR, noticeable=noticeable_pace(usual.pace.mean),
            ),
            _from_usual(
                "louder", "quieter", prosody.effort_db, usual.effort_db,
                error=EFFORT_ERROR_DB, noticeable=NOTICEABLE_EFFORT_DB,
            ),
        )
        if one is not None
    ]  # fmt: skip
    chosen = _most_certain(found)
    if not chosen:
        return _within("usual", found)
    first, *others = chosen
    confidence = first.p_direction
    stated = [first]
    if others and confidence * others[0].p_direction >= SAID_ABOVE:
        stated.append(others[0])
        confidence *= others[0].p_direction
    value = "+".join(one.direction for one in found if one in stated)
    return Attribute(value=value, confidence=confidence, measured=first.measured)


def relation_to_previous(now: Utterance, before: Utterance | None) -> Attribute:
    """Return the difference from the speaker's utterance before, for the slot ``PREVIOUS``.

    "more_agitated" and "calmer" need arousal that differs by at least 0.4, and pitch, pace or
    effort that moves the same way by a noticeable amount, while none of them moves as much the
    other way. Otherwise the most certain direction of one measure is stated; "same" needs all three
    within what a listener notices, and arousal that differs by less.

    ``measured`` is the difference of arousal, or that of the measure in its own unit. There is no
    value without an utterance that ended at most a minute before this one, and none if no statement
    is more likely than not.
    """
    if before is None or not 0 <= now.ended_s - before.ended_s <= MAX_SECONDS_BETWEEN:
        return Attribute()
    found = _from_utterance(now.prosody, before.prosody)
    chosen = _most_certain(found)
    arousal = now.arousal - before.arousal
    if not math.isfinite(arousal):
        return Attribute()
    is_aroused = abs(arousal) >= MIN_AROUSAL_DIFFERENCE
    if is_aroused and chosen and all((one.value > 0) == (arousal > 0) for one in chosen):
        return Attribute(
            value="more_agitated" if arousal > 0 else "calmer",
            confidence=_p_arousal(arousal, found),
            measured=arousal,
        )
    if chosen:
        first = chosen[0]
        return Attribute(
            value=first.direction, confidence=first.p_direction, measured=first.measured
        )
    return Attribute() if is_aroused else _within("same", found)


def _from_usual(
    more: str,
    less: str,
    value: float | None,
    usual: UsualMeasure,
    *,
    error: float,
    noticeable: float,
) -> Difference | None:
    """Compare a measure with the usual; ``None`` if either is not known well enough."""
    if value is None or not math.isfinite(value) or usual.count < MIN_USUAL_CLIPS:
        return None
    spread = max(usual.spread, error)  # few clips may agree by chance, but not better than this
    error_of_mean = spread / math.sqrt(min(usual.count, MEMORY_CLIPS))
    return Difference(
        more,
        less,
        value=value - usual.mean,
        error=math.hypot(error, error_of_mean),
        limit=max(spread, noticeable),
        unit=spread,
    )


def _from_utterance(now: Prosody, before: Prosody) -> list[Difference]:
    measures = (
        ("higher", "lower", now.pitch_st, before.pitch_st, PITCH_ERROR_ST, NOTICEABLE_PITCH_ST),
        (
            "faster", "slower", now.pace, before.pace,
            PACE_ERROR, noticeable_pace(before.pace),
        ),
        (
            "louder", "quieter", now.effort_db, before.effort_db,
            EFFORT_ERROR_DB, NOTICEABLE_EFFORT_DB,
        ),
    )  # fmt: skip
    return [
        Difference(more, less, value - last, math.sqrt(2) * error, limit)
        for more, less, value, last, error, limit in measures
        if value is not None and last is not None and math.isfinite(value - last)
    ]


def noticeable_pace(pace: float | None) -> float:
    """Return the difference from ``pace`` that a listener notices, in syllables per second."""
    return NOTICEABLE_PACE_SHARE * max(pace or 0.0, _MIN_PACE)


def _most_certain(found: Iterable[Difference]) -> list[Difference]:
    """Return the differences that probably exceed their limits, the most certain first."""
    beyond = [one for one in found if one.p_direction > 0.5]
    return sorted(beyond, key=lambda one: one.p_direction, reverse=True)


def _within(value: str, found: Sequence[Difference]) -> Attribute:
    """Return ``value`` if all three measures are known, and probably within their limits."""
    probability = math.prod(one.p_within for one in found)
    if len(found) < 3 or probability <= 0.5:
        return Attribute()
    return Attribute(value=value, confidence=probability)


def _p_arousal(arousal: float, found: Iterable[Difference]) -> float:
    """Return the probability that the true arousal has moved in this direction, and at least one
    measure with it by a noticeable amount."""
    sign = _normal_cdf(abs(arousal) / (math.sqrt(2) * AROUSAL_ERROR))
    none = math.prod(1 - (one.p_more if arousal > 0 else one.p_less) for one in found)
    return sign * (1 - none)


def _normal_cdf(deviations: float) -> float:
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
