"""The frontier: what each setting gives and gives away, in- and out-of-domain.

The settings are every gate at several rates, for each thing that a question may disclose. Those of
the device's own gate can be set on a device; the others show what a better gate would be worth.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.decoding.measured_frontier import (
    Domain,
    MeasuredFrontier,
    MeasuredSetting,
    Population,
    SettingFigures,
)
from ugsd_sdk.decoding.risk_calibration import weight_hashes
from ugsd_sdk.prosody.norms import load_norms

from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.prosody import measure_all
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.claim_truth import LevelBorders, Truth, label_truth, recording_truth
from ugsd_lab.evaluation.frontier_gates import (
    DEVICE_GATE,
    GATES,
    Gate,
    asked_shares,
    threshold_of,
)
from ugsd_lab.evaluation.frontier_outcomes import (
    DRAWS,
    EXPOSURES,
    Exposure,
    Outcomes,
    Recorded,
    record,
)
from ugsd_lab.evaluation.independent_prosody import independent_prosody
from ugsd_lab.evaluation.intervals import Measure, draws, interval, sums_by_speaker
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = [
    "RATES",
    "Frontier",
    "Identified",
    "Point",
    "frontier_of",
    "measured_frontier",
    "recorded_clips",
    "write_measured",
]

Float64 = NDArray[np.float64]

RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the captions that ask; both domains count the same."""
_DECIMALS = 4
_FEW_SPEAKERS = 2
_VERIFIER_GRAPH = "verifier.onnx"


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
class Point:
    """One gate at one rate."""

    gate: str
    rate: float
    """The share of captions that ask, both domains with the same weight."""
    threshold: float | None
    """The setting that gives this rate, if the gate is the device's own and anything is asked."""
    exposure: Exposure
    figures: Mapping[Domain, SettingFigures]


@dataclass(frozen=True)
class Frontier:
    """Every point, and the captions on which it was measured."""

    populations: Mapping[Domain, Population]
    points: tuple[Point, ...]

    def of(self, gate: str, exposure: Exposure) -> list[Point]:
        """Return the points of a gate by ascending rate."""
        own = [one for one in self.points if (one.gate, one.exposure) == (gate, exposure)]
        return sorted(own, key=lambda point: point.rate)

    def settings(self) -> tuple[MeasuredSetting, ...]:
        """Return the points that can be set on a device, the drafter alone first and once."""
        own = [one for one in self.points if one.gate == DEVICE_GATE.name]
        asking = [one for one in own if one.threshold is not None]
        return tuple(
            MeasuredSetting(
                threshold=one.threshold,
                disclosure=one.exposure.disclosure,
                sigma=one.exposure.sigma,
                figures=dict(one.figures),
            )
            for one in ([one for one in own if one.threshold is None][:1] + asking)
        )


# -- captions


def recorded_clips(
    clips: Sequence[Clip],
    pair: Pair,
    *,
    cache: Path,
    progress: Progress,
    limit: int | None = None,
    exposures: Sequence[Exposure] = EXPOSURES,
    draws: int = DRAWS,
) -> Recorded:
    """Caption the labelled clips of test speakers, at most ``limit`` of each after those of the
    enrolment, without a question and with one. With noise each question is asked ``draws`` times.

    Raises :class:`EvaluationError` if there are none.
    """
    test = [clip for clip in clips if clip.split == "test" and clip.emotion is not None]
    chosen = limited(test, limit)
    if not chosen:
        raise EvaluationError("no labelled clips of test speakers to caption: name another --data")
    with tempfile.TemporaryDirectory(prefix="ugsd-frontier-") as home:
        harness = EvaluationHarness(pair, Path(home))
        scored = harness.drafter.encode_clips(chosen, Stage(progress, "encoding", len(chosen)))
        truths = _truths(scored, cache, progress)
        return record(harness, pair, scored, truths, exposures, progress, draws=draws)


def _truths(clips: Sequence[Clip], cache: Path, progress: Progress) -> dict[str, Truth]:
    """Return what each caption may claim. What relates a clip to others is not claimed here."""
    measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
    borders = LevelBorders.of(load_norms())
    truths: dict[str, Truth] = {}
    for done, clip in enumerate(clips, 1):
        prosody = independent_prosody(read_samples(clip), measures[clip.id])
        truths[clip.id] = {**label_truth(clip), **recording_truth(prosody, borders, clip.gender)}
        progress("checking prosody", done, len(clips), "")
    return truths


# -- figures


def frontier_of(
    recorded: Recorded,
    leaks: Mapping[Exposure, Mapping[str, Identified]],
    *,
    gates: Sequence[Gate] = GATES,
    rates: Sequence[float] = RATES,
) -> Frontier:
    """Return every gate at every rate, and the device's own gate at the drafter's threshold too.

    ``leaks`` has how well speakers are identified, by exposure and corpus.
    """
    parts = _parts(recorded)
    points = []
    for exposure, asked in recorded.asked.items():
        worst = {name: _worst(leaks[exposure], part) for name, part in parts.items()}
        for gate in gates:
            for shares, threshold in _choices(recorded, gate, asked, rates):
                points.append(
                    Point(
                        gate.name,
                        float(shares @ recorded.weights),
                        threshold,
                        exposure,
                        _figures(recorded, parts, shares, asked, worst),
                    )
                )
    some = next(iter(leaks.values()))
    populations: dict[Domain, Population] = {
        name: part.population(_worst(some, part)) for name, part in parts.items()
    }
    if len(parts) > 1:
        populations["both"] = _together(list(populations.values()))
    return Frontier(populations, tuple(points))


@dataclass(frozen=True)
class _Part:
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


def _parts(recorded: Recorded) -> dict[Domain, _Part]:
    parts: dict[Domain, _Part] = {}
    names: tuple[Domain, Domain] = ("in", "out")
    for seed, (name, is_in) in enumerate(zip(names, (True, False), strict=True)):
        rows = np.flatnonzero(recorded.in_domain == is_in)
        if len(rows):
            parts[name] = _Part(
                rows,
                tuple(dict.fromkeys(recorded.corpora[row] for row in rows)),
                tuple(recorded.speakers[row] for row in rows),
                seed,
            )
    return parts


def _together(parts: Sequence[Population]) -> Population:
    return Population(
        corpora=tuple(name for part in parts for name in part.corpora),
        captions=sum(part.captions for part in parts),
        speakers=sum(part.speakers for part in parts),
        attacked=" and ".join(part.attacked for part in parts),
        attacked_speakers=sum(part.attacked_speakers for part in parts),
    )


def _worst(leaks: Mapping[str, Identified], part: _Part) -> Identified:
    """Return the strongest identification on the domain's corpora. One of two speakers counts only
    if there is no other, because it says little about other people."""
    own = [one for name, one in leaks.items() if name in part.corpora]
    if not own:
        raise EvaluationError(
            f"speakers of {', '.join(part.corpora)} were not attacked: at least two are needed"
        )
    return max(own, key=lambda one: (one.speakers > _FEW_SPEAKERS, one.advantage))


def _choices(
    recorded: Recorded, gate: Gate, asked: Outcomes, rates: Sequence[float]
) -> list[tuple[Float64, float | None]]:
    """Return how often each caption asks, and the threshold for it, at every rate of a gate. Of
    thresholds at which the same captions ask, the drafter's own is kept."""
    scores = gate.score(recorded, asked)
    if gate is not DEVICE_GATE:
        return [(asked_shares(scores, rate, recorded.weights), None) for rate in rates]
    own = round(recorded.threshold, 3)
    thresholds = [own, *(threshold_of(scores, rate, recorded.weights) for rate in rates if rate)]
    asking = {(scores >= one).tobytes(): one for one in reversed(thresholds)}
    return [
        (np.zeros(len(scores)), None),
        *(((scores >= one).astype(np.float64), one) for one in sorted(asking.values())[::-1]),
    ]


def _figures(
    recorded: Recorded,
    parts: Mapping[Domain, _Part],
    shares: Float64,
    asked: Outcomes,
    leaks: Mapping[Domain, Identified],
) -> dict[Domain, SettingFigures]:
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
    part: _Part
    shares: Float64
    asked_outcomes: Outcomes
    leak: Identified

    def mean(self, field: str) -> float:
        return float(self._values(field).mean())

    def emotion(self) -> Measure:
        ones = np.ones(len(self.part.rows))
        return self._ratio(self._values("emotion"), ones)

    def claims(self) -> Measure:
        return self._ratio(self._values("right_claims"), self._values("claims"))

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
        emotion, claims = self.emotion(), self.claims()
        emotion_low, emotion_high = interval(emotion.redrawn(self.part.draws))
        claims_low, claims_high = interval(claims.redrawn(self.part.draws))
        return _rounded(
            emotion=emotion.value, emotion_low=emotion_low, emotion_high=emotion_high,
            claims=claims.value, claims_low=claims_low, claims_high=claims_high,
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
    for name in ("emotion", "claims"):
        drawn = [getattr(part, name)().redrawn(part.part.draws) for part in parts]
        means[f"{name}_low"], means[f"{name}_high"] = interval(np.mean(drawn, axis=0))
    worst = max(dumped, key=lambda one: one["leakage"])
    means |= {name: worst[name] for name in ("leakage", "leakage_low", "leakage_high")}
    return _rounded(**means)


def _rounded(**values: float) -> SettingFigures:
    return SettingFigures(**{name: round(value, _DECIMALS) for name, value in values.items()})


# -- the file beside the drafter


def measured_frontier(frontier: Frontier, pair: Pair, command: str) -> MeasuredFrontier:
    """Return the settings for a device, bound to the weights of the pair."""
    return MeasuredFrontier(
        format=1,
        command=command,
        weights=weight_hashes(pair.drafter),
        verifier=hashlib.sha256((pair.verifier / _VERIFIER_GRAPH).read_bytes()).hexdigest(),
        populations=dict(frontier.populations),
        settings=frontier.settings(),
    )


def write_measured(measured: MeasuredFrontier, path: Path) -> None:
    """Write the settings to ``path``, one on each line.

    Raises :class:`EvaluationError` if it cannot be written.
    """
    head = measured.model_dump(mode="json", exclude={"settings"})
    settings = ",\n".join(
        f"  {json.dumps(one.model_dump(mode='json'), separators=(',', ':'))}"
        for one in measured.settings
    )
    text = f'{json.dumps(head, indent=1)[:-2]},\n "settings": [\n{settings}\n ]\n}}\n'
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}; name another file") from error
