"""``ugsd-lab calibrate-risk``: measures each disclosure at each threshold, on calibration speakers.

Captions run through the whole system, as in ``ugsd-lab evaluate``, once for each setting. The risk
bounds hold for all disclosures and thresholds jointly, so that a policy may choose among them:
Learn-then-Test along the thresholds, Bonferroni's correction over the disclosures.
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

__all__ = [
    "CLIPS",
    "DELTA",
    "TARGETS",
    "THRESHOLDS",
    "block_loss",
    "measure",
    "write_risk_calibration",
]

THRESHOLDS = (0.0, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24, 0.27, 0.3, 0.35, 0.4, 1.0)
"""The most careful first; at 1 only tokens that are certainly wrong are escalated. Chosen on dev
speakers, between the smallest and the largest uncertainty in their captions, because the test
requires that the calibration speakers have no influence on them."""
DELTA = 0.1
TARGETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Target risks whose settings are checked on captions that were not used to choose them."""
CLIPS = 120
"""Default number of clips per speaker: small and large corpora then have about equal weight."""
_ENOUGH_SPEAKERS = 3
"""With fewer speakers, an interval over them is meaningless."""
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
    """Measure all disclosures at all thresholds on at most ``limit`` clips of each calibration
    speaker.

    The settings that would be chosen are checked on half as many clips of each dev speaker, and on
    each corpus after choosing on the other corpora. Raises :class:`EvaluationError` if there are no
    such clips.
    """
    with tempfile.TemporaryDirectory(prefix="ugsd-quality-") as home:
        harness = EvaluationHarness(pair, Path(home))
        run = _run(harness, clips, "calibration", limit, thresholds, progress)
        other = _run(harness, clips, "dev", max(1, limit // 2), thresholds, progress)
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
        settings=tuple(run.setting(key, bounds[key]) for key in run.outcomes),
        gaps=tuple(_gaps(run, pair)),
        checks=tuple(_checks(run, other)),
    )


def write_risk_calibration(measured: RiskCalibration, folder: Path) -> Path:
    """Write the figures beside the drafter in ``folder`` and return the file's path."""
    path = folder / RISK_CALIBRATION_FILE
    path.write_text(measured.model_dump_json(indent=1) + "\n", "utf-8")
    return path


# -- running


class _RecordDrafts:
    """A policy that records, caption by caption, which token was drafted at which position."""

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
    """Return the share of a caption's blocks, counted from its start, with at least one token that
    is still the ``drafted`` one (position -> token) and would have been ``rejected``."""
    wrong = {
        position // BLOCK_TOKENS
        for position, token in enumerate(tokens)
        if rejected[position] and drafted.get(position) == token
    }
    return len(wrong) / ceil(len(tokens) / BLOCK_TOKENS)


@dataclass(frozen=True)
class _Outcomes:
    """The outcomes of one setting, clip by clip."""

    outputs: list[SystemOutput]
    losses: NDArray[np.float64]
    right: list[float]


class _Run:
    """All settings on the same clips."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self.speakers = [f"{clip.corpus}/{clip.speaker}" for clip in clips]
        self.outcomes: dict[_Key, _Outcomes] = {}
        """By disclosure, with the thresholds in the order in which they are tested."""
        self.alone: list[float] = []
        self.verifier: list[float] = []
        """1 or 0 for each clip: the drafter alone, and the verifier, name the right emotion."""

    def bounds(self, delta: float, clips: Sequence[int]) -> dict[_Key, float]:
        """Return the risk bound of each setting, from the clips with these indices."""
        chosen = list(clips)
        found: dict[_Key, float] = {}
        for disclosure in Disclosure:
            keys = [key for key in self.outcomes if key[0] is disclosure]
            means = [float(self.outcomes[key].losses[chosen].mean()) for key in keys]
            share = delta / len(Disclosure)
            found |= zip(keys, sequential_bounds(means, len(chosen), share), strict=True)
        return found

    def setting(self, key: _Key, bound: float) -> CalibratedSetting:
        outcomes = self.outcomes[key]
        usages = [one.caption.usage for one in outcomes.outputs if one.caption is not None]
        gain, low, high = self._gain(outcomes)
        return CalibratedSetting(
            disclosure=key[0],
            threshold=key[1],
            risk=float(outcomes.losses.mean()),
            risk_bound=bound,
            gain=gain,
            gain_low=low,
            gain_high=high,
            emotion=float(np.mean(outcomes.right)),
            tokens_left=disclosed_share(outcomes.outputs),
            states_left=sum(c.num_disclosed_states for c in usages)
            / sum(len(one.tokens) for one in outcomes.outputs),
            frames=float(np.mean([c.num_frames for c in usages])),
            bytes_sent=float(np.mean([c.bytes_sent for c in usages])),
        )

    def _gain(self, outcomes: _Outcomes) -> tuple[float | None, float | None, float | None]:
        """Return the share of the gap that a setting closes and its interval; ``None`` for each if
        the gap is not significant."""
        speakers = len(set(self.speakers))
        if speakers < _ENOUGH_SPEAKERS:
            return None, None, None
        rights = (outcomes.right, self.alone, self.verifier)
        system, alone, verifier = (share_measure(self.speakers, right) for right in rights)
        gap = gap_closed(system, alone, verifier, draws(speakers))
        return (None, None, None) if isnan(gap.closed) else (gap.closed, gap.low, gap.high)


def _run(
    harness: EvaluationHarness,
    clips: Sequence[Clip],
    split: str,
    limit: int,
    thresholds: Sequence[float],
    progress: Progress,
) -> _Run:
    chosen = limited([c for c in clips if c.split == split and c.emotion is not None], limit)
    if not chosen:
        raise EvaluationError(f"no clips of {split} speakers with an emotion label: name --data")
    scored = harness.drafter.encode_clips(
        chosen, Stage(progress, f"encoding, {split}", len(chosen))
    )
    run = _Run(scored)
    settings = [(disclosure, threshold) for disclosure in Disclosure for threshold in thresholds]
    stage = Stage(progress, f"captioning, {split}", (len(settings) + 2) * len(scored))
    right = _emotions(scored)
    run.alone = right(harness.run(System("drafter alone", None), scored, stage))
    run.verifier = right(harness.verifier_only(scored, "verifier", stage))
    judged: dict[tuple[str, tuple[int, ...]], NDArray[np.bool_]] = {}

    def rejected(clip: Clip, tokens: tuple[int, ...]) -> NDArray[np.bool_]:
        if (clip.id, tokens) not in judged:
            judged[clip.id, tokens] = harness.rejected(clip, tokens)
        return judged[clip.id, tokens]

    for disclosure, threshold in settings:
        policy = _RecordDrafts(UncertaintyPolicy(threshold, disclosure))
        system = System(f"{disclosure} {threshold}", lambda p=policy: p)  # type: ignore[misc]
        outputs = harness.run(system, scored, stage)
        losses = [
            block_loss(outputs[clip.id].tokens, drafted, rejected(clip, outputs[clip.id].tokens))
            for clip, drafted in zip(scored, policy.captions, strict=True)
        ]
        run.outcomes[disclosure, threshold] = _Outcomes(
            [outputs[clip.id] for clip in scored], np.array(losses), right(outputs)
        )
    return run


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
            for right in (run.alone, run.verifier)
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


def _checks(run: _Run, other: _Run) -> Iterator[Check]:
    """Yield the risk of the setting chosen for each target on the dev speakers, and on each corpus
    if the setting is chosen on the others."""
    every = range(len(run.clips))
    new = range(len(other.clips))
    yield from _checked(run, every, other, new, on=("calibration speakers", "dev speakers"))
    corpora = list(dict.fromkeys(clip.corpus for clip in run.clips))
    for corpus in corpora if len(corpora) > 1 else ():
        own = [index for index in every if run.clips[index].corpus == corpus]
        others = [index for index in every if index not in own]
        yield from _checked(run, others, run, own, on=("the other corpora", corpus))


def _checked(
    run: _Run, chosen_on: Sequence[int], other: _Run, clips: Sequence[int], on: tuple[str, str]
) -> Iterator[Check]:
    """Yield the risk, on the ``clips`` of ``other``, of settings chosen on ``chosen_on`` of
    ``run``."""
    bounds = run.bounds(DELTA, chosen_on)
    settings = [run.setting(key, bounds[key]) for key in run.outcomes]
    for target in TARGETS:
        chosen = least_disclosure(settings, target)
        risk = None
        if chosen is not None:
            losses = other.outcomes[chosen.disclosure, chosen.threshold].losses
            risk = float(losses[list(clips)].mean())
        yield Check(
            target=target,
            chosen_on=on[0],
            on=on[1],
            disclosure=None if chosen is None else chosen.disclosure,
            threshold=None if chosen is None else chosen.threshold,
            risk=risk,
            captions=len(clips),
        )
