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
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
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
from ugsd_lab.evaluation.frontier_figures import (
    Identified,
    attacked,
    figures_of,
    parts_of,
    populations_of,
)
from ugsd_lab.evaluation.frontier_gates import (
    DEVICE_GATE,
    GATES,
    Gate,
    asked_shares,
    min_gain_of,
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
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = [
    "RATES",
    "Frontier",
    "Point",
    "frontier_of",
    "measured_frontier",
    "recorded_clips",
    "write_measured",
]

Float64 = NDArray[np.float64]

RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the captions that ask; both domains count the same."""
_DEFAULT_MIN_GAIN = 0.0
_VERIFIER_GRAPH = "verifier.onnx"


@dataclass(frozen=True)
class Point:
    """One gate at one rate."""

    gate: str
    rate: float
    """The share of captions that ask, both domains with the same weight."""
    min_gain: float | None
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
        """Return the points that can be set on a device, the drafter alone first and once. Without
        a state a device expects no gain, and so it asks nothing."""
        own = [one for one in self.points if one.gate == DEVICE_GATE.name]
        asking = [
            one
            for one in own
            if one.min_gain is not None and one.exposure.disclosure is not Disclosure.TOKENS
        ]
        return tuple(
            MeasuredSetting(
                min_gain=one.min_gain,
                disclosure=one.exposure.disclosure,
                sigma=one.exposure.sigma,
                figures=dict(one.figures),
            )
            for one in ([one for one in own if one.min_gain is None][:1] + asking)
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

    Raises :class:`EvaluationError` without such clips.
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
    """Return every gate at every rate, and the device's own gate at its default too.

    ``leaks`` has how well speakers are identified, by exposure and corpus.
    """
    parts = parts_of(recorded)
    by_domain = attacked(parts, leaks)
    points = []
    for exposure, asked in recorded.asked.items():
        own = {name: some[exposure] for name, some in by_domain.items()}
        for gate in gates:
            points += [
                Point(
                    gate.name,
                    float(shares @ recorded.weights),
                    min_gain,
                    exposure,
                    figures_of(recorded, parts, shares, asked, own),
                )
                for shares, min_gain in _choices(recorded, gate, asked, rates)
            ]
    return Frontier(populations_of(parts, by_domain), tuple(points))


def _choices(
    recorded: Recorded, gate: Gate, asked: Outcomes, rates: Sequence[float]
) -> list[tuple[Float64, float | None]]:
    """Return how often each caption asks, and the setting for it, at every rate of a gate. Of
    settings at which the same captions ask, the default is kept."""
    scores = gate.score(recorded, asked)
    if gate is not DEVICE_GATE:
        return [(asked_shares(scores, rate, recorded.weights), None) for rate in rates]
    rated = (min_gain_of(scores, rate, recorded.weights) for rate in rates if rate)
    settings = [_DEFAULT_MIN_GAIN, *rated]
    asking = {(scores > one).tobytes(): one for one in reversed(settings)}
    return [
        (np.zeros(len(scores)), None),
        *(((scores > one).astype(np.float64), one) for one in sorted(asking.values())[::-1]),
    ]


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
