"""The figures of a setting: means over the captions of a domain, and intervals over speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.decoding.measured_frontier import Domain, Population, SettingFigures

from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.frontier_outcomes import Exposure, Outcomes, Recorded
from ugsd_lab.evaluation.intervals import Measure, draws, interval, sums_by_speaker

__all__ = ["Identified", "Part", "attacked", "figures_of", "parts_of", "populations_of"]

Float64 = NDArray[np.float64]

_DECIMALS = 4
_FEW_SPEAKERS = 2


@dataclass(frozen=True)
class Identified:
    """How much better than guessing the speaker of a question is identified."""

    corpus: str
    speakers: int
    advantage: float
    """0 at chance, 1 always right."""
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """The captions of one domain."""

    rows: NDArray[np.int64]
    corpora: tuple[str, ...]
    speakers: tuple[str, ...]
    seed: int
    """Speakers of different domains are drawn independently."""

    @cached_property
    def draws(self) -> NDArray[np.int64]:
        return draws(len(set(self.speakers)), seed=self.seed)

    def population(self, attacked: Identified) -> Population:
        return Population(
            corpora=self.corpora,
            captions=len(self.rows),
            speakers=len(set(self.speakers)),
            attacked=attacked.corpus,
            attacked_speakers=attacked.speakers,
        )


def parts_of(recorded: Recorded) -> dict[Domain, Part]:
    """Return the captions of each domain that has any."""
    parts: dict[Domain, Part] = {}
    names: tuple[Domain, Domain] = ("in", "out")
    for seed, (name, is_in) in enumerate(zip(names, (True, False), strict=True)):
        rows = np.flatnonzero(recorded.in_domain == is_in)
        if len(rows):
            parts[name] = Part(
                rows,
                tuple(dict.fromkeys(recorded.corpora[row] for row in rows)),
                tuple(recorded.speakers[row] for row in rows),
                seed,
            )
    return parts


def attacked(
    parts: Mapping[Domain, Part], leaks: Mapping[Exposure, Mapping[str, Identified]]
) -> dict[Domain, dict[Exposure, Identified]]:
    """Return by domain how well speakers are identified on the corpus where that is easiest. A
    corpus of two speakers is used only if there is no other, because it says little about other
    people.

    Raises :class:`EvaluationError` if no speaker of a domain was attacked.
    """
    found: dict[Domain, dict[Exposure, Identified]] = {}
    for domain, part in parts.items():
        own = [
            one for by_corpus in leaks.values() for one in by_corpus.values()
            if one.corpus in part.corpora
        ]  # fmt: skip
        if not own:
            raise EvaluationError(
                f"speakers of {', '.join(part.corpora)} were not attacked: at least two are needed"
            )
        worst = max(own, key=lambda one: (one.speakers > _FEW_SPEAKERS, one.advantage))
        found[domain] = {exposure: some[worst.corpus] for exposure, some in leaks.items()}
    return found


def populations_of(
    parts: Mapping[Domain, Part], leaks: Mapping[Domain, Mapping[Exposure, Identified]]
) -> dict[Domain, Population]:
    """Return the captions of each domain, and of both together if there are two."""
    found = {
        name: part.population(next(iter(leaks[name].values()))) for name, part in parts.items()
    }
    if len(found) > 1:
        several = list(found.values())
        found["both"] = Population(
            corpora=tuple(name for one in several for name in one.corpora),
            captions=sum(one.captions for one in several),
            speakers=sum(one.speakers for one in several),
            attacked=" and ".join(one.attacked for one in several),
            attacked_speakers=sum(one.attacked_speakers for one in several),
        )
    return found


def figures_of(
    recorded: Recorded,
    parts: Mapping[Domain, Part],
    shares: Float64,
    asked: Outcomes,
    leaks: Mapping[Domain, Identified],
) -> dict[Domain, SettingFigures]:
    """Return the figures in each domain, and in both together if there are two, if each caption
    asks as often as ``shares`` (n,) says. ``asked`` has what becomes of it then, and ``leaks`` how
    well the speaker of a question is identified."""
    mixed = {
        name: _Mixture(recorded, part, shares, asked, leaks[name]) for name, part in parts.items()
    }
    figures = {name: one.figures() for name, one in mixed.items()}
    if len(mixed) > 1:
        figures["both"] = _mean_of(list(mixed.values()), list(figures.values()))
    return figures


@dataclass(frozen=True)
class _Mixture:
    """The captions of one domain, each a mixture of its unasked and its asked version."""

    recorded: Recorded
    part: Part
    shares: Float64
    asked_outcomes: Outcomes
    leak: Identified

    def mean(self, field: str) -> float:
        """Return the mean of a field of :class:`Outcomes`."""
        return float(self._values(field).mean())

    def measures(self) -> dict[str, Measure]:
        """Return the figures that have an interval over speakers."""
        emotion, alone = self._values("emotion"), self.recorded.alone.emotion[self.part.rows]
        ones = np.ones(len(emotion))
        return {
            "emotion": self._ratio(emotion, ones),
            "gain": self._ratio(emotion - alone, ones),
            "claims": self._ratio(self._values("right_claims"), self._values("claims")),
        }

    @property
    def asked(self) -> float:
        return float(self.shares[self.part.rows].mean())

    def p50_ms(self) -> float:
        """Return the median time if each caption takes either time as often as it asks or not."""
        rows, shares = self.part.rows, self.shares[self.part.rows]
        alone, asked = self.recorded.alone.total_ms[rows], self.asked_outcomes.total_ms[rows]
        times, weights = np.concatenate([alone, asked]), np.concatenate([1 - shares, shares])
        order = np.argsort(times, kind="stable")
        below = np.cumsum(weights[order])
        return float(times[order][np.searchsorted(below, below[-1] / 2)])

    def figures(self) -> SettingFigures:
        values: dict[str, float] = {}
        for name, measure in self.measures().items():
            low, high = interval(measure.redrawn(self.part.draws))
            values |= {name: measure.value, f"{name}_low": low, f"{name}_high": high}
        return _rounded(
            **values,
            asked=self.asked,
            tokens=self.mean("tokens"), numbers=self.mean("numbers"),
            bytes_sent=self.mean("bytes_sent"), p50_ms=self.p50_ms(),
            leakage=self.asked * max(0.0, self.leak.advantage),
            leakage_low=self.asked * max(0.0, self.leak.low),
            leakage_high=self.asked * max(0.0, self.leak.high),
        )  # fmt: skip

    def _values(self, field: str) -> Float64:
        rows, shares = self.part.rows, self.shares[self.part.rows]
        alone, asked = getattr(self.recorded.alone, field), getattr(self.asked_outcomes, field)
        values: Float64 = (1 - shares) * alone[rows] + shares * asked[rows]
        return values

    def _ratio(self, above: Float64, below: Float64) -> Measure:
        sums = sums_by_speaker(self.part.speakers, np.stack([above, below], axis=1))
        return Measure(sums, lambda both: float(both[0] / both[1]) if both[1] else float("nan"))


def _mean_of(parts: Sequence[_Mixture], figures: Sequence[SettingFigures]) -> SettingFigures:
    """Return the mean over domains, which have the same weight; the larger leakage of them."""
    dumped = [one.model_dump() for one in figures]
    means = {name: float(np.mean([one[name] for one in dumped])) for name in dumped[0]}
    measures = [part.measures() for part in parts]
    for name in measures[0]:
        drawn = [
            own[name].redrawn(part.part.draws) for part, own in zip(parts, measures, strict=True)
        ]
        means[f"{name}_low"], means[f"{name}_high"] = interval(np.mean(drawn, axis=0))
    worst = max(dumped, key=lambda one: one["leakage"])
    means |= {name: worst[name] for name in ("leakage", "leakage_low", "leakage_high")}
    return _rounded(**means)


def _rounded(**values: float) -> SettingFigures:
    return SettingFigures(**{name: round(value, _DECIMALS) for name, value in values.items()})
