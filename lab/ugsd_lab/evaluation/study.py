"""Runs every system on the same clips, corpus by corpus."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import AlwaysEscalate, UncertaintyPolicy
from ugsd_sdk.settings.verification import BlockUnit

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Levels, Measures, Norms, measure_all
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import baselines
from ugsd_lab.evaluation.curves import CorpusCurves, curves_of, curves_total, matched_entropy
from ugsd_lab.evaluation.matching import (
    MATCHING_CLIPS,
    RATES,
    DisclosureMatch,
    match_disclosure,
    random_system,
)
from ugsd_lab.evaluation.metrics import auroc, signatures
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.predictor_calibration import PredictorCalibration
from ugsd_lab.evaluation.rows import (
    ALL,
    ALONE,
    ALWAYS,
    ASK,
    COMPARED,
    ENTROPY,
    EVERYWHERE,
    FIRST,
    MAJORITY,
    MATCHED,
    RANDOM,
    RANDOM_ALL,
    RECIPE,
    SYSTEMS,
    TOKENS,
    UGSD,
    VERIFIER,
    CorpusRun,
    Result,
    difference_of,
    row_of,
    systems_in_order,
)
from ugsd_lab.evaluation.systems import (
    EvaluationHarness,
    Stage,
    System,
    SystemOutput,
    shipped_policy,
)
from ugsd_lab.training.profiles import MIN_ENROLMENT

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["evaluate", "limited"]


def evaluate(
    clips: Sequence[Clip],
    pair: Pair,
    *,
    norms: Norms,
    cache: Path,
    progress: Progress,
    split: str = "test",
    systems: Collection[str] | None = None,
    tune: bool = False,
    limit: int | None = None,
    curves: bool = False,
    probe: Mapping[str, str] | None = None,
    profiles: bool = True,
    sigma: float | None = None,
) -> Result:
    """Run the systems on the clips of ``split``, at most ``limit`` per speaker.

    ``systems`` selects some; the three of :data:`~ugsd_lab.evaluation.rows.ALWAYS` run in any case.
    Each clip comes after the speaker's earlier ones; the first of each speaker are only for
    enrolment. Without ``profiles`` the same clips are scored, each as the first one of an unknown
    speaker. The training clips give the majority caption. ``sigma`` is the noise on the states that
    are sent, in clip norms.

    ``tune`` runs the candidates for the baselines instead. ``curves`` also varies the thresholds.
    ``probe`` maps clip ids to emotions that a classifier read from the drafter's audio embedding.
    Clips without an emotion label, for which no references can be generated, are skipped and
    counted. Raises :class:`EvaluationError` if a system does not exist or no clips remain.
    """
    of_split = [clip for clip in clips if clip.split == split]
    labelled = [clip for clip in of_split if clip.emotion is not None]
    if not labelled:
        raise EvaluationError(
            f"no clips of split {split!r} with an emotion label in these corpora: name another "
            "--split or --data"
        )
    chosen = limited(labelled, limit)
    if not chosen:
        raise EvaluationError(
            f"no speaker of split {split!r} has more than the {MIN_ENROLMENT} clips that enrolment "
            "takes: add recordings of these speakers"
        )
    names = list(dict.fromkeys(clip.corpus for clip in chosen))
    selected = _selected(systems, several=len(names) > 1)
    training = {name: _training(clips, name) for name in names} if MAJORITY in selected else {}
    typical = {
        name: baselines.sample(own, baselines.MAJORITY_SAMPLE) for name, own in training.items()
    }
    measured = [*chosen, *(clip for own in typical.values() for clip in own)]
    levels = _levels(measured, norms, cache, progress)
    with tempfile.TemporaryDirectory(prefix="ugsd-evaluate-") as home:
        harness = EvaluationHarness(pair, Path(home), sigma=sigma)
        scored = harness.drafter.encode_clips(
            chosen, Stage(progress, "encoding", len(chosen)), profiles=profiles
        )
        corpora = [
            CorpusRun(name, pair.domain_of(name), [c for c in scored if c.corpus == name], levels)
            for name in names
        ]
        for corpus in corpora if MAJORITY in selected else ():
            known = {clip.id: levels[clip.id] for clip in typical[corpus.name]}
            text = baselines.majority_caption(training[corpus.name], known)
            corpus.outputs[MAJORITY] = {clip.id: SystemOutput(text) for clip in corpus.clips}
        (_run_candidates if tune else _run_systems)(harness, pair, corpora, selected, progress)
        calibration = tuple(_calibration(harness, corpus) for corpus in corpora)
        drawn = _curves(harness, corpora, progress) if curves else ()
    if probe is not None:
        _add_probe(corpora, probe)
    return Result(
        rows=tuple(
            row_of(corpus, system) for corpus in corpora for system in systems_in_order(corpus)
        ),
        differences=tuple(
            difference_of(corpus, system)
            for corpus in corpora
            for system in systems_in_order(corpus)
            if system in COMPARED
        ),
        auroc=auroc(
            [u for run in corpora if run.domain == "in-domain" for u in run.uncertainties()],
            [u for run in corpora if run.domain != "in-domain" for u in run.uncertainties()],
        ),
        calibration=calibration,
        signatures=signatures(len(corpora[0].references[0])),
        confusions={
            corpus.name: {system: corpus.confusion(system) for system in ALWAYS}
            for corpus in corpora
        },
        curves=drawn,
        unlabelled=Counter(clip.corpus for clip in of_split if clip.emotion is None),
        sigma=sigma,
    )


# -- which clips and systems


def _selected(systems: Collection[str] | None, *, several: bool) -> set[str]:
    unknown = sorted(set(systems or ()) - set(SYSTEMS))
    if unknown:
        raise EvaluationError(f"no system {unknown[0]!r}; there are: {'; '.join(SYSTEMS)}")
    selected = {*(SYSTEMS if systems is None else systems), *ALWAYS}
    return selected if several else selected - set(EVERYWHERE)  # equal to one rate per corpus


def limited(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """Return ``limit`` clips of each speaker to score, and the clips of their enrolment; none of a
    speaker who has no more than the enrolment takes."""
    speakers = dict.fromkeys((clip.corpus, clip.speaker) for clip in clips)
    selected: set[str] = set()
    for corpus, speaker in speakers:
        own = [clip for clip in clips if (clip.corpus, clip.speaker) == (corpus, speaker)]
        if len(own) > MIN_ENROLMENT:
            count = len(own) if limit is None else limit + MIN_ENROLMENT
            selected |= {clip.id for clip in baselines.sample(own, count, salt=speaker)}
    return [clip for clip in clips if clip.id in selected]


def _training(clips: Sequence[Clip], corpus: str) -> list[Clip]:
    """Return the corpus' training clips, or all training clips if it has none."""
    training = [clip for clip in clips if clip.split == "train"]
    return [clip for clip in training if clip.corpus == corpus] or training


def _levels(
    clips: Sequence[Clip], norms: Norms, cache: Path, progress: Progress
) -> dict[str, Levels]:
    """Return the levels by clip id. A population without norms, such as an unseen corpus, is
    measured against itself."""
    measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
    norms = _completed(norms, clips, measures)
    return {clip.id: norms.levels(clip, measures[clip.id]) for clip in clips}


def _completed(norms: Norms, clips: Sequence[Clip], measures: dict[str, Measures]) -> Norms:
    own = Norms.fit([replace(clip, split="train") for clip in clips], measures)
    return Norms({**own.borders, **norms.borders})


# -- running


def _ugsd(harness: EvaluationHarness) -> System:
    return System(UGSD, lambda: shipped_policy(harness.rejection_predictor))


def _run_systems(
    harness: EvaluationHarness,
    pair: Pair,
    corpora: Sequence[CorpusRun],
    selected: set[str],
    progress: Progress,
) -> None:
    threshold = baselines.entropy_threshold(pair.drafter) if ENTROPY in selected else None
    if ENTROPY in selected and threshold is None:
        threshold = matched_entropy(harness, [corpus.clips for corpus in corpora], progress)
    systems = [
        System(ALONE, None),
        _ugsd(harness),
        baselines.entropy_system(ENTROPY, threshold or 0.0),
        baselines.paper_recipe(RECIPE, baselines.RECIPE),
        baselines.first_token(FIRST),
        System(
            TOKENS,
            lambda: UncertaintyPolicy(harness.rejection_predictor.threshold, Disclosure.TOKENS),
            block_unit=BlockUnit.TOKENS,
        ),
        System(ASK, AlwaysEscalate),
        System(ALL, AlwaysEscalate, block_unit=BlockUnit.TOKENS),
    ]
    _run(harness, corpora, [system for system in systems if system.name in selected], progress)
    matched = [name for name in MATCHED if name in selected]
    if matched:
        matches = _matches(harness, corpora, [baselines.FIXED_BLOCK], progress)
        mean = DisclosureMatch.mean(matches)
        stage = Stage(progress, "matched systems", len(matched) * _clips_of(corpora))
        for corpus, match in zip(corpora, matches, strict=True):
            for name in matched:
                system = _matched_system(
                    name, mean if name in EVERYWHERE else match, len(corpus.clips)
                )
                corpus.outputs[name] = harness.run(system, corpus.clips, stage)


def _run_candidates(
    harness: EvaluationHarness,
    pair: Pair,
    corpora: Sequence[CorpusRun],
    selected: set[str],
    progress: Progress,
) -> None:
    """Run the candidates for the paper's recipe and for the fixed block."""
    recipes = [baselines.paper_recipe(_candidate(RECIPE, name), name) for name in baselines.RECIPES]
    _run(harness, corpora, [System(ALONE, None), _ugsd(harness), *recipes], progress)
    matches = _matches(harness, corpora, baselines.BLOCKS, progress)
    stage = Stage(progress, "fixed blocks", len(baselines.BLOCKS) * _clips_of(corpora))
    for corpus, match in zip(corpora, matches, strict=True):
        for block in baselines.BLOCKS:
            name = _candidate("fixed block", str(block))
            system = baselines.fixed_block(name, block, match.fixed_rate(block), len(corpus.clips))
            corpus.outputs[name] = harness.run(system, corpus.clips, stage)


def _candidate(system: str, choice: str) -> str:
    return f"{system} ({choice})"


def _run(
    harness: EvaluationHarness,
    corpora: Sequence[CorpusRun],
    systems: Sequence[System],
    progress: Progress,
) -> None:
    stage = Stage(progress, "captioning", (len(systems) + 1) * _clips_of(corpora))
    for corpus in corpora:
        for system in systems:
            corpus.outputs[system.name] = harness.run(system, corpus.clips, stage)
        corpus.outputs[VERIFIER] = harness.verifier_only(corpus.clips, VERIFIER, stage)


def _matches(
    harness: EvaluationHarness,
    corpora: Sequence[CorpusRun],
    blocks: Sequence[int],
    progress: Progress,
) -> list[DisclosureMatch]:
    clips = sum(min(len(corpus.clips), MATCHING_CLIPS) for corpus in corpora)
    stage = Stage(progress, "matching disclosure", clips * (len(RATES) + len(blocks)))
    return [
        match_disclosure(harness, corpus.clips, corpus.outputs[UGSD], blocks, stage)
        for corpus in corpora
    ]


def _matched_system(name: str, match: DisclosureMatch, captions: int) -> System:
    if name in (RANDOM, RANDOM_ALL):
        return random_system(name, match.random_rate())
    block = baselines.FIXED_BLOCK
    return baselines.fixed_block(name, block, match.fixed_rate(block), captions)


def _clips_of(corpora: Sequence[CorpusRun]) -> int:
    return sum(len(corpus.clips) for corpus in corpora)


def _calibration(harness: EvaluationHarness, corpus: CorpusRun) -> PredictorCalibration:
    """Compare the rejection predictor's probability of each question with the verdict."""
    drafts = [(clip, corpus.outputs[ALONE][clip.id]) for clip in corpus.clips]
    asked = [(clip, draft) for clip, draft in drafts if draft.question]
    return PredictorCalibration.of(
        corpus.name,
        corpus.domain,
        speakers=[clip.speaker for clip, _ in asked],
        chance=[draft.uncertainty for _, draft in asked],
        rejected=[harness.is_rejected(clip, draft.question) for clip, draft in asked],
        threshold=harness.rejection_predictor.threshold,
    )


def _curves(
    harness: EvaluationHarness, corpora: Sequence[CorpusRun], progress: Progress
) -> tuple[CorpusCurves, ...]:
    stage = Stage(progress, "curves", curves_total([corpus.clips for corpus in corpora]))
    return tuple(
        curves_of(harness, corpus.name, corpus.domain, corpus.clips, stage) for corpus in corpora
    )


def _add_probe(corpora: Sequence[CorpusRun], probe: Mapping[str, str]) -> None:
    for corpus in corpora:
        missing = [clip.id for clip in corpus.clips if clip.id not in probe]
        if missing:
            raise EvaluationError(f"the probe has no emotion for {missing[0]}: probe every clip")
        corpus.probe = probe
