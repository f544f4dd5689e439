"""``ugsd-lab calibrate-risk``: measures the question at each threshold, on calibration speakers.

Captions run through the whole system, as in ``ugsd-lab evaluate``, twice: never asked and always
asked. A caption has one question, so that the outcome at each threshold is that of one of the two.
The loss of a caption is 1 if its question is kept on the device although the verifier would have
rejected the draft. The risk bounds hold for all thresholds jointly, so that a policy may choose
among them: Learn-then-Test.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.decoding.risk_calibration import (
    RISK_CALIBRATION_FILE,
    CalibratedSetting,
    Check,
    Gap,
    RiskCalibration,
    weight_hashes,
)
from ugsd_sdk.decoding.risk_controlled import cheapest_setting

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

__all__ = [
    "CLIPS",
    "DELTA",
    "TARGETS",
    "THRESHOLDS",
    "kept_rejected",
    "measure",
    "write_risk_calibration",
]

THRESHOLDS = tuple(step / 50 for step in range(51))
"""The most careful first. An even grid, on which the calibration speakers have no influence, as the
test requires."""
_DISCLOSURE = Disclosure.SUMMARY
"""With less, a verifier has nothing to judge by; with more, it gets the same state again."""
DELTA = 0.1
TARGETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Target risks whose settings are checked on captions that were not used to choose them."""
CLIPS = 120
"""Default number of clips per speaker: small and large corpora then have about equal weight."""
_ENOUGH_SPEAKERS = 3
"""With fewer speakers, an interval over them is meaningless."""
_VERIFIER_GRAPH = "verifier.onnx"


def measure(
    clips: Sequence[Clip],
    pair: Pair,
    *,
    command: str,
    progress: Progress,
    limit: int = CLIPS,
    thresholds: Sequence[float] = THRESHOLDS,
) -> RiskCalibration:
    """Measure all thresholds on at most ``limit`` clips of each calibration speaker.

    The settings that would be chosen are checked on half as many clips of each dev speaker, and on
    each corpus after choosing on the other corpora. Raises :class:`EvaluationError` if there are no
    such clips.
    """
    with tempfile.TemporaryDirectory(prefix="ugsd-quality-") as home:
        harness = EvaluationHarness(pair, Path(home))
        run = _run(harness, clips, "calibration", limit, progress)
        other = _run(harness, clips, "dev", max(1, limit // 2), progress)
    every = range(len(run.clips))
    bounds = zip(thresholds, run.bounds(thresholds, every), strict=True)
    return RiskCalibration(
        format=2,
        command=command,
        weights=weight_hashes(pair.drafter),
        verifier=hashlib.sha256((pair.verifier / _VERIFIER_GRAPH).read_bytes()).hexdigest(),
        slot="emotion",
        delta=DELTA,
        captions=len(run.clips),
        speakers=len(set(run.speakers)),
        settings=tuple(run.setting(threshold, bound, every) for threshold, bound in bounds),
        gaps=tuple(_gaps(run, pair)),
        checks=tuple(_checks(run, other, thresholds)),
    )


def write_risk_calibration(measured: RiskCalibration, folder: Path) -> Path:
    """Write the figures beside the drafter in ``folder`` and return the file's path."""
    path = folder / RISK_CALIBRATION_FILE
    path.write_text(measured.model_dump_json(indent=1) + "\n", "utf-8")
    return path


# -- running


@dataclass(frozen=True)
class _Emotions:
    """1 or 0 for each clip: whether a caption names the right emotion."""

    alone: list[float]
    asked: list[float]
    """Of a caption that asks."""
    verifier: list[float]


def kept_rejected(
    uncertainty: NDArray[np.float64], is_rejected: NDArray[np.bool_], threshold: float
) -> NDArray[np.bool_]:
    """Return (n,) the losses at ``threshold``: which captions keep their draft on the device
    although the verifier would have rejected it."""
    return (uncertainty < threshold) & is_rejected


class _Run:
    """The same clips never asked and always asked."""

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        never: Sequence[SystemOutput],
        always: Sequence[SystemOutput],
        is_rejected: Sequence[bool],
        emotions: _Emotions,
    ) -> None:
        """``is_rejected`` says of each clip whether the verifier rejects its draft; a caption that
        states no emotion has nothing to reject."""
        self.clips = clips
        self.speakers = [f"{clip.corpus}/{clip.speaker}" for clip in clips]
        self.emotions = emotions
        self._never, self._always = never, always
        self._uncertainty = np.array([one.uncertainty for one in never])
        self._is_rejected = np.array(is_rejected, dtype=bool)

    def losses(self, threshold: float) -> NDArray[np.bool_]:
        """Return (n,) the loss of each caption at a threshold."""
        return kept_rejected(self._uncertainty, self._is_rejected, threshold)

    def bounds(self, thresholds: Sequence[float], clips: Sequence[int]) -> list[float]:
        """Return the risk bound of each threshold, from the clips with these indices."""
        losses = [int(self.losses(one)[list(clips)].sum()) for one in thresholds]
        return sequential_bounds(losses, len(clips), DELTA)

    def setting(self, threshold: float, bound: float, clips: Sequence[int]) -> CalibratedSetting:
        """Return what a threshold reaches and costs. Risk and bound are of the clips with these
        indices, all else of all clips."""
        is_asked = self._uncertainty >= threshold
        outputs = np.where(is_asked, self._objects(self._always), self._objects(self._never))
        usages = [one.caption.usage for one in outputs if one.caption is not None]
        right = np.where(is_asked, self.emotions.asked, self.emotions.alone)
        gain, low, high = self._gain(right.tolist())
        return CalibratedSetting(
            disclosure=_DISCLOSURE,
            threshold=threshold,
            risk=float(self.losses(threshold)[list(clips)].mean()),
            risk_bound=bound,
            gain=gain,
            gain_low=low,
            gain_high=high,
            emotion=float(np.mean(right)),
            tokens_left=disclosed_share(list(outputs)),
            states_left=sum(c.num_disclosed_states for c in usages)
            / sum(len(one.tokens) for one in outputs),
            frames=float(np.mean([c.num_frames for c in usages])),
            bytes_sent=float(np.mean([c.bytes_sent for c in usages])),
        )

    @staticmethod
    def _objects(outputs: Sequence[SystemOutput]) -> NDArray[np.object_]:
        array = np.empty(len(outputs), dtype=object)
        array[:] = outputs
        return array

    def _gain(self, right: list[float]) -> tuple[float | None, float | None, float | None]:
        """Return the share of the gap that a setting closes and its interval; ``None`` for each if
        the gap is not significant."""
        speakers = len(set(self.speakers))
        if speakers < _ENOUGH_SPEAKERS:
            return None, None, None
        system, alone, verifier = (
            share_measure(self.speakers, one)
            for one in (right, self.emotions.alone, self.emotions.verifier)
        )
        gap = gap_closed(system, alone, verifier, draws(speakers))
        return (None, None, None) if isnan(gap.closed) else (gap.closed, gap.low, gap.high)


def _run(
    harness: EvaluationHarness, clips: Sequence[Clip], split: str, limit: int, progress: Progress
) -> _Run:
    chosen = limited([c for c in clips if c.split == split and c.emotion is not None], limit)
    if not chosen:
        raise EvaluationError(f"no clips of {split} speakers with an emotion label: name --data")
    scored = harness.drafter.encode_clips(
        chosen, Stage(progress, f"encoding, {split}", len(chosen))
    )
    stage = Stage(progress, f"captioning, {split}", 3 * len(scored))
    never = harness.run(System("never asked", None), scored, stage)
    always = harness.run(System("always asked", AlwaysEscalate), scored, stage)
    own = harness.verifier_only(scored, "verifier", stage)
    questions = [never[clip.id].question for clip in scored]
    right = _emotions(scored)
    return _Run(
        scored,
        never=[never[clip.id] for clip in scored],
        always=[always[clip.id] for clip in scored],
        is_rejected=[
            bool(question) and harness.is_rejected(clip, question)
            for clip, question in zip(scored, questions, strict=True)
        ],
        emotions=_Emotions(right(never), right(always), right(own)),
    )


def _emotions(clips: Sequence[Clip]) -> Callable[[Mapping[str, SystemOutput]], list[float]]:
    return lambda outputs: [
        float(emotion_right(outputs[clip.id].text, clip.emotion or "")) for clip in clips
    ]


# -- gaps and checks


def _gaps(run: _Run, pair: Pair) -> list[Gap]:
    """Return the gap of all corpora, of the in-domain ones (``home`` in the file) and of the others
    (``away``), each if it has clips."""
    gaps = []
    for where in ("pooled", "home", "away"):
        chosen = [
            index
            for index, clip in enumerate(run.clips)
            if where in ("pooled", "home" if clip.corpus in pair.in_domain else "away")
        ]
        if not chosen:
            continue
        speakers = [run.speakers[index] for index in chosen]
        alone, verifier = (
            share_measure(speakers, [right[index] for index in chosen])
            for right in (run.emotions.alone, run.emotions.verifier)
        )
        count = len(set(speakers))
        gap = gap_closed(verifier, alone, verifier, draws(count))
        enough = count >= _ENOUGH_SPEAKERS
        gaps.append(
            Gap(
                where=where,
                alone=alone.value,
                verifier=verifier.value,
                low=gap.gap_low if enough else None,
                high=gap.gap_high if enough else None,
                captions=len(chosen),
                speakers=count,
            )
        )
    return gaps


def _checks(run: _Run, other: _Run, thresholds: Sequence[float]) -> Iterator[Check]:
    """Yield the risk of the setting chosen for each target on the dev speakers, and on each corpus
    if the setting is chosen on the others, as if it were unseen."""
    every = range(len(run.clips))
    new = range(len(other.clips))
    yield from _checked(
        run, every, other, new, thresholds, ("calibration speakers", "dev speakers")
    )
    corpora = list(dict.fromkeys(clip.corpus for clip in run.clips))
    for corpus in corpora if len(corpora) > 1 else ():
        own = [index for index in every if run.clips[index].corpus == corpus]
        others = [index for index in every if index not in own]
        yield from _checked(run, others, run, own, thresholds, ("the other corpora", corpus))


def _checked(
    run: _Run,
    chosen_on: Sequence[int],
    other: _Run,
    clips: Sequence[int],
    thresholds: Sequence[float],
    on: tuple[str, str],
) -> Iterator[Check]:
    """Yield the risk, on the ``clips`` of ``other``, of settings chosen on ``chosen_on`` of
    ``run``."""
    settings = [
        run.setting(threshold, bound, chosen_on)
        for threshold, bound in zip(thresholds, run.bounds(thresholds, chosen_on), strict=True)
    ]
    for target in TARGETS:
        chosen = cheapest_setting(settings, target)
        risk = None
        if chosen is not None:
            risk = float(other.losses(chosen.threshold)[list(clips)].mean())
        yield Check(
            target=target,
            chosen_on=on[0],
            on=on[1],
            disclosure=None if chosen is None else chosen.disclosure,
            threshold=None if chosen is None else chosen.threshold,
            risk=risk,
            captions=len(clips),
        )
