"""What each disclosure reaches at each threshold, on calibration speakers: ``ugsd-lab quality``.

Captions go the whole way, as in ``ugsd-lab evaluate``, each threshold on trajectories of its own.
The risk's bounds hold for all disclosures and thresholds together, so that a policy may choose
among them: Learn-then-Test along the thresholds, Bonferroni's correction over the disclosures.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isnan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.decoder import BLOCK_TOKENS
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    Policy,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.risk_calibration import (
    RISK_CALIBRATION_FILE,
    CalibratedSetting,
    Check,
    Gap,
    RiskCalibration,
    weight_hashes,
)
from ugsd_sdk.decoding.risk_controlled import least_disclosure

from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.intervals import draws, gap_closed, share_measure
from ugsd_lab.evaluation.matching import disclosed_share
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.risk_control import sequential_bounds
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["CLIPS", "DELTA", "TARGETS", "THRESHOLDS", "block_loss", "measure", "write_quality"]

THRESHOLDS = (0.0, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24, 0.27, 0.3, 0.35, 0.4, 1.0)
"""The most careful first; at 1 nothing leaves but what is surely wrong. Chosen on the dev speakers,
between the least and the largest doubt in their captions: the test demands that the calibration
speakers have no part in it."""
DELTA = 0.1
TARGETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Of the risk, at which choices are checked on captions that had no part in them."""
CLIPS = 120
"""Of each speaker, unless told otherwise: so corpora of few and many clips weigh about alike."""
_ENOUGH_SPEAKERS = 3
"""With fewer, an interval over speakers says nothing."""
_VERIFIER_GRAPH = "verifier.onnx"

_Key = tuple[Disclosure, float]


def measure(
    clips: Sequence[Clip],
    pair: Pair,
    *,
    command: str,
    progress: Progress,
    limit: int = CLIPS,
    thresholds: Sequence[float] = THRESHOLDS,
) -> RiskCalibration:
    """All disclosures at all thresholds on at most ``limit`` clips of each calibration speaker;
    then on half as many of each dev speaker, and on each corpus by what the others chose, to check.

    Raises :class:`EvaluationError` where there are no such clips.
    """
    with tempfile.TemporaryDirectory(prefix="ugsd-quality-") as home:
        bench = EvaluationHarness(pair, Path(home))
        run = _run(bench, clips, "calibration", limit, thresholds, progress)
        other = _run(bench, clips, "dev", max(1, limit // 2), thresholds, progress)
    bounds = run.bounds(DELTA, range(len(run.clips)))
    return RiskCalibration(
        format=1,
        command=command,
        weights=weight_hashes(pair.drafter),
        verifier=hashlib.sha256((pair.verifier / _VERIFIER_GRAPH).read_bytes()).hexdigest(),
        block_tokens=BLOCK_TOKENS,
        delta=DELTA,
        captions=len(run.clips),
        speakers=len(set(run.speakers)),
        settings=tuple(run.setting(key, bounds[key]) for key in run.arms),
        gaps=tuple(_gaps(run, pair)),
        checks=tuple(_checks(run, other)),
    )


def write_quality(found: RiskCalibration, folder: Path) -> Path:
    """Keep the figures beside the drafter in ``folder``."""
    path = folder / RISK_CALIBRATION_FILE
    path.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    return path


# -- what was said


class _Watched:
    """A policy that remembers, caption by caption, which token was drafted at which position."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.captions: list[dict[int, int]] = []

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        if block.start == 0:
            self.captions.append({})
        self.captions[-1].update(enumerate(block.tokens, block.start))
        return self._policy(block, budget)


def block_loss(
    tokens: Sequence[int], drafted: Mapping[int, int], rejected: Sequence[bool] | NDArray[np.bool_]
) -> float:
    """Share of a caption's blocks, cut from its start, in which a token that was ``drafted``
    (position -> token) stands that would have been ``rejected``."""
    wrong = {
        position // BLOCK_TOKENS
        for position, token in enumerate(tokens)
        if rejected[position] and drafted.get(position) == token
    }
    return len(wrong) / ceil(len(tokens) / BLOCK_TOKENS)


@dataclass(frozen=True)
class _Outcomes:
    """One arm's, clip by clip."""

    said: list[SystemOutput]
    losses: NDArray[np.float64]
    right: list[float]


class _Run:
    """All arms on the same clips."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self.speakers = [f"{clip.corpus}/{clip.speaker}" for clip in clips]
        self.arms: dict[_Key, _Outcomes] = {}
        """By disclosure, thresholds in the order in which they are tested."""
        self.alone: list[float] = []
        self.verifier: list[float] = []
        """Whether the drafter alone, and the verifier, name the right emotion."""

    def bounds(self, delta: float, clips: Sequence[int]) -> dict[_Key, float]:
        """The risk's bound of each arm, from the clips of these indices."""
        kept = list(clips)
        found: dict[_Key, float] = {}
        for disclosure in Disclosure:
            keys = [key for key in self.arms if key[0] is disclosure]
            means = [float(self.arms[key].losses[kept].mean()) for key in keys]
            share = delta / len(Disclosure)
            found |= zip(keys, sequential_bounds(means, len(kept), share), strict=True)
        return found

    def setting(self, key: _Key, bound: float) -> CalibratedSetting:
        arm = self.arms[key]
        costs = [one.caption.usage for one in arm.said if one.caption is not None]
        gain, low, high = self._gain(arm)
        return CalibratedSetting(
            disclosure=key[0],
            threshold=key[1],
            risk=float(arm.losses.mean()),
            risk_bound=bound,
            gain=gain,
            gain_low=low,
            gain_high=high,
            emotion=float(np.mean(arm.right)),
            tokens_left=disclosed_share(arm.said),
            states_left=sum(c.num_disclosed_states for c in costs)
            / sum(len(one.tokens) for one in arm.said),
            frames=float(np.mean([c.num_frames for c in costs])),
            bytes_sent=float(np.mean([c.bytes_sent for c in costs])),
        )

    def _gain(self, arm: _Outcomes) -> tuple[float | None, float | None, float | None]:
        """The gap that it closes, and its interval; nothing where the gap is not surely one."""
        speakers = len(set(self.speakers))
        if speakers < _ENOUGH_SPEAKERS:
            return None, None, None
        rights = (arm.right, self.alone, self.verifier)
        ours, alone, verifier = (share_measure(self.speakers, right) for right in rights)
        gap = gap_closed(ours, alone, verifier, draws(speakers))
        return (None, None, None) if isnan(gap.closed) else (gap.closed, gap.low, gap.high)


def _run(
    bench: EvaluationHarness,
    clips: Sequence[Clip],
    split: str,
    limit: int,
    thresholds: Sequence[float],
    progress: Progress,
) -> _Run:
    chosen = limited([c for c in clips if c.split == split and c.emotion is not None], limit)
    if not chosen:
        raise EvaluationError(f"no clips of {split} speakers with an emotion label: name --data")
    heard = bench.drafter.encode_clips(chosen, Stage(progress, f"listening, {split}", len(chosen)))
    run = _Run(heard)
    arms = [(disclosure, threshold) for disclosure in Disclosure for threshold in thresholds]
    stage = Stage(progress, f"captioning, {split}", (len(arms) + 2) * len(heard))
    right = _emotions(heard)
    run.alone = right(bench.run(System("drafter alone", None), heard, stage))
    run.verifier = right(bench.verifier_only(heard, "verifier", stage))
    judged: dict[tuple[str, tuple[int, ...]], NDArray[np.bool_]] = {}

    def rejected(clip: Clip, tokens: tuple[int, ...]) -> NDArray[np.bool_]:
        if (clip.id, tokens) not in judged:
            judged[clip.id, tokens] = bench.rejected(clip, tokens)
        return judged[clip.id, tokens]

    for disclosure, threshold in arms:
        watched = _Watched(UncertaintyPolicy(threshold, disclosure))
        said = bench.run(System(f"{disclosure} {threshold}", lambda w=watched: w), heard, stage)  # type: ignore[misc]
        losses = [
            block_loss(said[clip.id].tokens, drafted, rejected(clip, said[clip.id].tokens))
            for clip, drafted in zip(heard, watched.captions, strict=True)
        ]
        run.arms[disclosure, threshold] = _Outcomes(
            [said[clip.id] for clip in heard], np.array(losses), right(said)
        )
    return run


def _emotions(clips: Sequence[Clip]) -> Callable[[Mapping[str, SystemOutput]], list[float]]:
    return lambda said: [
        float(emotion_right(said[clip.id].text, clip.emotion or "")) for clip in clips
    ]


# -- what follows from it


def _gaps(run: _Run, pair: Pair) -> list[Gap]:
    """Pooled, at home and away, where there are clips."""
    found = []
    for where in ("pooled", "home", "away"):
        kept = [
            index
            for index, clip in enumerate(run.clips)
            if where in ("pooled", "home" if pair.where(clip.corpus) == "home" else "away")
        ]
        if not kept:
            continue
        speakers = [run.speakers[index] for index in kept]
        alone, verifier = (
            share_measure(speakers, [right[index] for index in kept])
            for right in (run.alone, run.verifier)
        )
        count = len(set(speakers))
        gap = gap_closed(verifier, alone, verifier, draws(count))
        enough = count >= _ENOUGH_SPEAKERS
        found.append(
            Gap(
                where=where,
                alone=alone.value,
                verifier=verifier.value,
                low=gap.gap_low if enough else None,
                high=gap.gap_high if enough else None,
                captions=len(kept),
                speakers=count,
            )
        )
    return found


def _checks(run: _Run, other: _Run) -> Iterator[Check]:
    """What the choice for each target loses on the dev speakers, and on each corpus if chosen on
    the others alone."""
    every = range(len(run.clips))
    new = range(len(other.clips))
    yield from _lost(run, every, other, new, on=("calibration speakers", "dev speakers"))
    corpora = list(dict.fromkeys(clip.corpus for clip in run.clips))
    for corpus in corpora if len(corpora) > 1 else ():
        own = [index for index in every if run.clips[index].corpus == corpus]
        others = [index for index in every if index not in own]
        yield from _lost(run, others, run, own, on=("the other corpora", corpus))


def _lost(
    run: _Run, chosen_on: Sequence[int], there: _Run, kept: Sequence[int], on: tuple[str, str]
) -> Iterator[Check]:
    """What settings chosen on some captions of ``run`` lose on those ``kept`` of ``there``."""
    bounds = run.bounds(DELTA, chosen_on)
    settings = [run.setting(key, bounds[key]) for key in run.arms]
    for target in TARGETS:
        chosen = least_disclosure(settings, target)
        lost = None
        if chosen is not None:
            losses = there.arms[chosen.disclosure, chosen.threshold].losses
            lost = float(losses[list(kept)].mean())
        yield Check(
            target=target,
            chosen_on=on[0],
            on=on[1],
            disclosure=None if chosen is None else chosen.disclosure,
            threshold=None if chosen is None else chosen.threshold,
            risk=lost,
            captions=len(kept),
        )
