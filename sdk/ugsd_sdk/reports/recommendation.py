"""Settings for a stated wish, chosen from the measured frontier, and what they give up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from ugsd_privacy.dp.accounting import MAX_PRIVACY_EPSILON

from ugsd_sdk.decoding.measured_frontier import (
    Domain,
    MeasuredFrontier,
    MeasuredSetting,
    SettingFigures,
)
from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.reports.wrapped_text import titled_list, wrapped

__all__ = ["Recommendation", "Wish", "recommend", "recommended"]

_NEVER = 1.0
"""No expected gain exceeds it."""
_IN_WORDS: Mapping[Domain, str] = {
    "in": "speech like that on which the drafter was trained",
    "out": "speech unlike that on which the drafter was trained",
    "both": "speech like and unlike that on which the drafter was trained, half and half",
}
_OF_EVERY_CAPTION = "counting captions that send nothing as 0"


@dataclass(frozen=True)
class Wish:
    """What a person asks for; ``None`` or infinity asks for nothing.

    Raises :class:`ConfigError` if a value is out of range.
    """

    quality: float | None = None
    """The least share of captions with the right emotion, 0 to 1; ``None``: as many as possible."""
    max_bytes: float = inf
    """Most bytes per caption, at least 0."""
    max_epsilon: float = inf
    """Largest epsilon of the states of one caption, at least 0."""
    max_leakage: float = inf
    """Most leakage per caption, at least 0."""
    domain: Domain = "both"

    def __post_init__(self) -> None:
        if self.quality is not None and not 0 <= self.quality <= 1:
            raise ConfigError(f"--quality {self.quality:g}: give a share from 0 to 1")
        for name in ("max_bytes", "max_epsilon", "max_leakage"):
            if not getattr(self, name) >= 0:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} {getattr(self, name):g}: give a number of at least 0")

    def allows(self, setting: MeasuredSetting) -> bool:
        """Return whether ``setting`` discloses no more than is wished."""
        own = setting.figures[self.domain]
        return (
            own.bytes_sent <= self.max_bytes
            and setting.epsilon <= self.max_epsilon
            and own.leakage <= self.max_leakage
        )


@dataclass(frozen=True)
class Recommendation:
    """The chosen setting, and the two ends of the frontier that it lies between."""

    wish: Wish
    chosen: MeasuredSetting
    best: MeasuredSetting
    """The setting of the best quality, whatever it discloses."""
    most_private: MeasuredSetting
    """The setting that discloses least, whatever its quality."""
    frontier: MeasuredFrontier

    def settings(self) -> dict[str, Any]:
        """Return the arguments of :class:`~ugsd_sdk.Settings`."""
        return _arguments(self.chosen)

    def toml(self) -> str:
        """Return the lines for the settings file."""
        lines = [
            f"{name} = {_toml(value)}"
            for name, value in self.settings().items()
            if not isinstance(value, Mapping)
        ]
        if self.chosen.min_gain is None:
            lines[0] += "  # no question is asked; a device without a verifier sends nothing either"
        if self.chosen.sigma is not None:
            lines += ["", "[noise]", f"sigma = {_toml(self.chosen.sigma)}"]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; an infinite epsilon, which is no bound, is null."""
        domain = self.wish.domain
        return {
            "domain": domain,
            "settings": self.settings(),
            "toml": self.toml(),
            "chosen": _plain(self.chosen, domain),
            "best_quality": _plain(self.best, domain),
            "most_private": _plain(self.most_private, domain),
            "population": self.frontier.populations[domain].model_dump(mode="json"),
            "command": self.frontier.command,
        }

    def text(self) -> str:
        """Return the recommendation as text for a terminal."""
        population = self.frontier.populations[self.wish.domain]
        gives = titled_list(
            f"What they gave on {_IN_WORDS[self.wish.domain]} ({population.captions} captions of "
            f"{population.speakers} test speakers, {', '.join(population.corpora)}):",
            self._gives(),
        )
        notes = wrapped(
            f"Measured by `{self.frontier.command}` with enrolled speakers, and chosen on the same "
            "captions: expect a little less, and take differences within the ranges, which cover "
            "95 % of draws of speakers, for chance. Delete threshold, target_risk and target_gain "
            "from the file: only one of the four may be set."
        )
        return "\n\n".join(
            [
                f"Put these lines into the settings file, above its tables:\n\n{self.toml()}",
                gives,
                titled_list("What they give up:", self._gives_up()),
                notes,
            ]
        )

    def _gives(self) -> Iterator[str]:
        own, population = (
            self.chosen.figures[self.wish.domain],
            self.frontier.populations[self.wish.domain],
        )
        yield f"quality: the right emotion in {_emotion(own)} of captions"
        yield (
            f"claims: {own.claims:.2f} of what captions claim is right "
            f"({own.claims_low:.2f} to {own.claims_high:.2f})"
        )
        yield (
            f"disclosed: {100 * own.asked:.0f} % of captions ask; per caption {own.tokens:.1f} "
            f"tokens, {own.numbers:.1f} numbers about the clip and {own.bytes_sent:.0f} bytes"
        )
        yield f"epsilon: {_epsilon(self.chosen)}"
        yield (
            f"leakage: {own.leakage:.3f} ({own.leakage_low:.3f} to {own.leakage_high:.3f}), how "
            f"much better than guessing an attacker identified the speaker of a caption, "
            f"{_OF_EVERY_CAPTION} ({population.attacked}, {population.attacked_speakers} speakers"
            f"{'; the larger of the two' * (self.wish.domain == 'both')})"
        )
        yield f"time: half of the captions within {own.p50_ms:.0f} ms, without a network"

    def _gives_up(self) -> Iterator[str]:
        domain = self.wish.domain
        own, best, least = (
            one.figures[domain] for one in (self.chosen, self.best, self.most_private)
        )
        if self.chosen == self.best:
            yield "of quality nothing: no other setting was measured to be better"
        else:
            yield (
                f"of quality {best.emotion - own.emotion:.2f}: {_name(self.best)} gave "
                f"{_emotion(best)}, at {_costs(self.best, best)}"
            )
        if self.chosen == self.most_private:
            yield "of privacy nothing: nothing is sent"
        else:
            yield (
                f"of privacy {_costs(self.chosen, own)}, for {own.gain:+.2f} ({own.gain_low:+.2f} "
                f"to {own.gain_high:+.2f}) of quality: {_name(self.most_private)} gave "
                f"{_emotion(least)}" + "; this may be chance" * (own.gain_low <= 0)
            )


def recommend(wish: Wish, drafter: str) -> Recommendation:
    """Choose settings for the drafter of this name or folder.

    Raises :class:`ConfigError` if it was not measured, or if no setting fulfils the wish, and
    :class:`ModelError` if there is no such drafter.
    """
    return recommended(wish, MeasuredFrontier.load(DrafterBundle.of(drafter).folder))


def recommended(wish: Wish, frontier: MeasuredFrontier) -> Recommendation:
    """Return the setting of the best quality that discloses no more than is wished; if a quality
    is wished, the one of at least that quality which discloses least.

    Less leakage counts first, then epsilon, numbers and bytes. No measured setting dominates the
    result. Raises :class:`ConfigError` if no setting fulfils the wish; it names the nearest one.
    """
    domain = wish.domain
    if domain not in frontier.populations:
        measured = ", ".join(frontier.populations)
        raise ConfigError(f"--domain {domain} was not measured for this drafter: use {measured}")

    def quality(one: MeasuredSetting) -> float:
        return one.figures[domain].emotion

    def by_quality(one: MeasuredSetting) -> tuple[float, ...]:
        return (-quality(one), *one.exposure(domain))

    def by_exposure(one: MeasuredSetting) -> tuple[float, ...]:
        return (*one.exposure(domain), -quality(one))

    allowed = list(filter(wish.allows, frontier.settings))
    best = min(frontier.settings, key=by_quality)
    if wish.quality is None:
        chosen = min(allowed, key=by_quality)
    else:
        good = [one for one in frontier.settings if quality(one) >= wish.quality]
        within = [one for one in good if one in allowed]
        if not within:
            elsewhere = min(good, key=by_exposure, default=None)
            raise ConfigError(_impossible(wish, min(allowed, key=by_quality), elsewhere, best))
        chosen = min(within, key=by_exposure)
    return Recommendation(wish, chosen, best, min(frontier.settings, key=by_exposure), frontier)


def _impossible(
    wish: Wish, nearest: MeasuredSetting, elsewhere: MeasuredSetting | None, best: MeasuredSetting
) -> str:
    """Return why no setting fulfils the wish, and what is nearest to it: within the limits, and
    ``elsewhere``, if a setting beyond them has the quality."""
    own, top = nearest.figures[wish.domain], best.figures[wish.domain]
    text = (
        f"no measured setting has quality {wish.quality:g} within these limits; the nearest is "
        f"{_name(nearest)}, with {own.emotion:.4g}: ask for --quality {own.emotion:.4g}"
    )
    if elsewhere is None:
        return f"{text}; without limits the best is {top.emotion:.4g}"
    costs = _costs(elsewhere, elsewhere.figures[wish.domain])
    return f"{text}, or allow what {_name(elsewhere)} discloses: {costs}"


def _arguments(one: MeasuredSetting) -> dict[str, Any]:
    if one.min_gain is None:
        return {"min_gain": _NEVER}
    noise = {} if one.sigma is None else {"noise": {"sigma": one.sigma}}
    return {"min_gain": one.min_gain, "disclosure": str(one.disclosure), **noise}


def _toml(value: float | str) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(float(value))


def _plain(one: MeasuredSetting, domain: Domain) -> dict[str, Any]:
    epsilon = one.epsilon if isfinite(one.epsilon) else None
    return {
        "settings": _arguments(one),
        "epsilon": epsilon,
        "figures": one.figures[domain].model_dump(mode="json"),
    }


def _name(one: MeasuredSetting) -> str:
    """Return the setting in words."""
    if one.min_gain is None:
        return "the drafter alone"
    noise = "no noise" if one.sigma is None else f"sigma {one.sigma:g}"
    states = noise if one.epsilon else "no states"
    return f"min_gain {one.min_gain:g} with {states}"


def _emotion(own: SettingFigures) -> str:
    return f"{own.emotion:.2f} ({own.emotion_low:.2f} to {own.emotion_high:.2f})"


def _costs(one: MeasuredSetting, own: SettingFigures) -> str:
    bound = "no bound on epsilon" if one.epsilon == inf else f"epsilon {one.epsilon:.3g}"
    return (
        f"leakage {own.leakage:.3f}, {bound}, {own.numbers:.1f} numbers and "
        f"{own.bytes_sent:.0f} bytes"
    )


def _epsilon(one: MeasuredSetting) -> str:
    if not one.epsilon:
        return "0: no state is sent"
    if one.epsilon == inf:
        return "no bound: states are sent without noise"
    called = (
        "a guarantee of privacy"
        if one.epsilon <= MAX_PRIVACY_EPSILON
        else f"above {MAX_PRIVACY_EPSILON:g} this is noise, not privacy"
    )
    return f"{one.epsilon:.3g} for the states of one caption, at delta 1e-6; {called}"
