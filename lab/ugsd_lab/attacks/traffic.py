"""Traffic attack: what sizes, directions, order and times of frames reveal to the network.

Both directions count, so the verifier's replies are included. The observer knows when the device
was given the clip, and has learnt from fully labelled captions of other speakers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.attributes import balanced_accuracy
from ugsd_lab.attacks.findings import Finding, strongest
from ugsd_lab.attacks.learning import CLASSIFIERS, FULL, TrainingBudget, fit_network
from ugsd_lab.attacks.observations import Enrolment, drawn_profiles
from ugsd_lab.attacks.study import Target
from ugsd_lab.attacks.voices import named
from ugsd_lab.attacks.wiretap import Capture, capture
from ugsd_lab.evaluation.intervals import Measure, draws, interval
from ugsd_lab.evaluation.metrics import auroc
from ugsd_lab.models.embeddings import Progress

__all__ = [
    "ESCALATED",
    "REPLY_AFTER_MS",
    "TRAFFIC_NOTE",
    "attack_traffic",
    "features_of",
    "score_traffic",
]

Float32 = NDArray[np.float32]

ESCALATED, EMOTION = "escalated", "emotion"
REPLY_AFTER_MS = 400
"""Reply delay of the server in constant shape: longer than a block's answer takes on two busy
cores. With a shorter delay answers are late, and an observer who measures that can tell which
captions were escalated."""
_FIRST = 6
"""Number of first packets that are features one by one."""
_CLIPS_PER_SPEAKER = 16
_FOLDS = 2
TRAFFIC_NOTE = (
    "Traffic: escalated is the area under the ROC curve. The observer knows when the device was "
    f"given the clip. In constant shape the server answers every {REPLY_AFTER_MS} ms. An answer "
    "that is not ready by then is late, which reveals it: choose a longer delay on a slower server."
)


def attack_traffic(
    target: Target,
    progress: Progress,
    *,
    effort: TrainingBudget = FULL,
    per_speaker: int | None = None,
) -> list[Finding]:
    """Guess whether a caption was escalated, and its emotion, in each traffic shape."""
    voices = target.voices
    rows = _sample(voices.speaker, per_speaker or _CLIPS_PER_SPEAKER)
    profiles = drawn_profiles(
        voices, target.outputs.embeddings, Enrolment(Settings().min_enrolment)
    )
    embedded = [(target.outputs.embeddings[row], profiles[row]) for row in rows.tolist()]
    findings = []
    for shape in TrafficShape:
        pace_ms = REPLY_AFTER_MS if shape is TrafficShape.CONSTANT else 0
        captures = []
        for one in capture(
            target.drafter, target.predictor, embedded, shape, reply_after_ms=pace_ms
        ):
            captures.append(one)
            progress(f"recording traffic, {shape}", len(captures), len(embedded), "")
        speakers, emotions = voices.speaker[rows], voices.emotion[rows]
        findings += score_traffic(str(shape), captures, speakers, emotions, effort=effort)
    return findings


def _sample(speakers: NDArray[np.str_], count: int) -> NDArray[np.int64]:
    """Return at most ``count`` rows of each speaker, shuffled across speakers."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(speakers == s))[:count] for s in np.unique(speakers)]
    mixed: NDArray[np.int64] = rng.permutation(np.concatenate(rows))
    return mixed


def score_traffic(
    shape: str,
    captures: Sequence[Capture],
    speakers: NDArray[np.str_],
    emotions: NDArray[np.str_],
    *,
    effort: TrainingBudget = FULL,
) -> list[Finding]:
    """Return the strongest observer's area under the ROC curve for ``escalated``, and its balanced
    accuracy for ``emotion``, on speakers that it did not learn from."""
    seen = features_of(captures)
    escalated = np.array([one.escalated for one in captures])
    findings = []
    if 0 < escalated.sum() < len(escalated):
        results = {
            name: _area(seen, escalated, speakers, linear, effort)
            for name, linear in CLASSIFIERS.items()
        }
        findings.append(_finding(shape, ESCALATED, 0.5, results, len(captures)))
    labelled = emotions != ""
    results = {
        name: _accuracy(seen[labelled], emotions[labelled], speakers[labelled], linear, effort)
        for name, linear in CLASSIFIERS.items()
    }
    kinds = len(set(emotions[labelled].tolist()))
    return [*findings, _finding(shape, EMOTION, 1 / kinds, results, int(labelled.sum()))]


def features_of(captures: Sequence[Capture]) -> Float32:
    """Return (n, F) counts and bytes each way, and direction, size and time of the first
    packets."""
    rows = []
    for one in captures:
        row = []
        for up in (True, False):
            own = [packet for packet in one.packets if packet.up is up]
            times = [packet.at_s for packet in own] or [0.0]
            row += [len(own), sum(packet.bytes for packet in own), times[0], times[-1]]
        for packet in one.packets[:_FIRST]:
            row += [1.0 if packet.up else -1.0, packet.bytes, packet.at_s]
        rows.append(row + [0.0] * (8 + 3 * _FIRST - len(row)))
    return np.array(rows, dtype=np.float32)


def _folds(
    speakers: NDArray[np.str_],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    numbers, _ = named(speakers)
    for turn in range(_FOLDS):
        tested = numbers % _FOLDS == turn
        yield np.flatnonzero(~tested), np.flatnonzero(tested)


def _area(
    seen: Float32,
    escalated: NDArray[np.bool_],
    speakers: NDArray[np.str_],
    linear: bool,
    effort: TrainingBudget,
) -> Measure:
    scores = np.full(len(seen), 0.5)
    for train, test in _folds(speakers):
        if len(set(escalated[train].tolist())) > 1:
            network = fit_network(
                seen[train], escalated[train].astype(np.int64), linear=linear, effort=effort
            )
            outputs = network.outputs(seen[test])
            scores[test] = _ranks(outputs[:, 1] - outputs[:, 0])
    numbers, names = named(speakers)

    def area(weights: NDArray[np.float64]) -> float:
        drawn = np.repeat(np.arange(len(scores)), weights[numbers].astype(int))
        return auroc(
            scores[drawn][~escalated[drawn]].tolist(), scores[drawn][escalated[drawn]].tolist()
        )

    return Measure(np.eye(len(names)), area)


def _ranks(scores: Float32) -> NDArray[np.float64]:
    """Return the share of the other scores that are lower; ties count half. Two attackers' scores
    are not on one scale, and each knows only of the other's speakers how many captions escalate."""
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    ranks: NDArray[np.float64] = below / (2 * len(scores))
    return ranks


def _accuracy(
    seen: Float32,
    emotions: NDArray[np.str_],
    speakers: NDArray[np.str_],
    linear: bool,
    effort: TrainingBudget,
) -> Measure:
    guessed = np.empty_like(emotions)
    for train, test in _folds(speakers):
        known, names = named(emotions[train])
        shares = 1 / np.bincount(known)[known]
        network = fit_network(seen[train], known, weights=shares, linear=linear, effort=effort)
        guessed[test] = np.array(names)[network.classes(seen[test])]
    return balanced_accuracy(speakers.tolist(), emotions.tolist(), guessed.tolist())


def _finding(
    shape: str, measure: str, chance: float, results: dict[str, Measure], clips: int
) -> Finding:
    found = strongest(
        Finding(
            "traffic",
            measure,
            "all",
            shape,
            "",
            result.value,
            chance=chance,
            attacker=f"{name} on frames",
            speakers=len(result.sums),
            clips=clips,
        )
        for name, result in results.items()
    )
    result = results[found.attacker.removesuffix(" on frames")]
    low, high = interval(result.redrawn(draws(len(result.sums), count=500)))
    return replace(found, low=low, high=high)
