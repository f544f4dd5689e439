"""Every arm on the same clips in one run, corpus by corpus."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import AlwaysEscalate, UncertaintyPolicy

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
    random_gate,
)
from ugsd_lab.evaluation.metrics import auroc, signatures
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.rows import (
    ALL,
    ALONE,
    ALWAYS,
    ARMS,
    COMPARED,
    ENTROPY,
    EVERYWHERE,
    FIRST,
    MAJORITY,
    MATCHED,
    RANDOM,
    RANDOM_ALL,
    RECIPE,
    TOKENS,
    UGSD,
    VERIFIER,
    CorpusRun,
    Result,
    arms_in_order,
    difference_of,
    row_of,
)
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput
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
    arms: Collection[str] | None = None,
    tune: bool = False,
    limit: int | None = None,
    curves: bool = False,
    probe: Mapping[str, str] | None = None,
) -> Result:
    """Every arm, or those named in ``arms`` and the three that the others refer to, on the clips
    of ``split``, at most ``limit`` per speaker, each heard after the speaker's earlier ones; the
    first of each speaker only acquaint the device. The training clips give the majority caption.

    ``tune`` runs the candidates for the baselines instead. ``curves`` also moves the thresholds.
    ``probe`` has an emotion for each clip's id, as read from the drafter's evidence by a model
    without words. Clips without an emotion label, of which no caption can be generated, are left
    out and counted. Raises :class:`EvaluationError` for arms or clips that there are not.
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
            f"no speaker of split {split!r} has more than the {MIN_ENROLMENT} clips that only "
            "acquaint the device: add recordings of them"
        )
    names = list(dict.fromkeys(clip.corpus for clip in chosen))
    wanted = _wanted(arms, several=len(names) > 1)
    training = {name: _training(clips, name) for name in names} if MAJORITY in wanted else {}
    typical = {
        name: baselines.sample(of, baselines.MAJORITY_SAMPLE) for name, of in training.items()
    }
    levels = _levels([*chosen, *(c for of in typical.values() for c in of)], norms, cache, progress)
    with tempfile.TemporaryDirectory(prefix="ugsd-evaluate-") as home:
        bench = EvaluationHarness(pair, Path(home))
        scored = bench.drafter.encode_clips(chosen, Stage(progress, "listening", len(chosen)))
        corpora = [
            CorpusRun(name, pair.where(name), [c for c in scored if c.corpus == name], levels)
            for name in names
        ]
        for corpus in corpora if MAJORITY in wanted else ():
            known = {clip.id: levels[clip.id] for clip in typical[corpus.name]}
            text = baselines.majority_caption(training[corpus.name], known)
            corpus.said[MAJORITY] = {clip.id: SystemOutput(text) for clip in corpus.clips}
        (_run_candidates if tune else _run_arms)(bench, pair, corpora, wanted, progress)
        found = _curves(bench, pair, corpora, progress) if curves else ()
    if probe is not None:
        _add_probe(corpora, probe)
    return Result(
        rows=tuple(row_of(corpus, arm) for corpus in corpora for arm in arms_in_order(corpus)),
        differences=tuple(
            difference_of(corpus, arm)
            for corpus in corpora
            for arm in arms_in_order(corpus)
            if arm in COMPARED
        ),
        auroc=auroc(
            [u for corpus in corpora if corpus.where == "home" for u in corpus.uncertainties()],
            [u for corpus in corpora if corpus.where != "home" for u in corpus.uncertainties()],
        ),
        signatures=signatures(len(corpora[0].wanted[0])),
        confusions={
            corpus.name: {arm: corpus.confusion(arm) for arm in ALWAYS} for corpus in corpora
        },
        curves=found,
        unlabelled=Counter(clip.corpus for clip in of_split if clip.emotion is None),
    )


# -- which clips and arms


def _wanted(arms: Collection[str] | None, *, several: bool) -> set[str]:
    unknown = sorted(set(arms or ()) - set(ARMS))
    if unknown:
        raise EvaluationError(f"no arm {unknown[0]!r}; there are: {'; '.join(ARMS)}")
    wanted = {*(ARMS if arms is None else arms), *ALWAYS}
    return wanted if several else wanted - set(EVERYWHERE)  # the same as matched to one corpus


def limited(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """Of each speaker ``limit`` clips to score and those before that acquaint the device; nothing
    of speakers who have no more than the latter."""
    speakers = dict.fromkeys((clip.corpus, clip.speaker) for clip in clips)
    kept: set[str] = set()
    for corpus, speaker in speakers:
        own = [clip for clip in clips if (clip.corpus, clip.speaker) == (corpus, speaker)]
        if len(own) > MIN_ENROLMENT:
            count = len(own) if limit is None else limit + MIN_ENROLMENT
            kept |= {clip.id for clip in baselines.sample(own, count, salt=speaker)}
    return [clip for clip in clips if clip.id in kept]


def _training(clips: Sequence[Clip], corpus: str) -> list[Clip]:
    """The corpus' training clips; those of all corpora for one that nothing was trained on."""
    training = [clip for clip in clips if clip.split == "train"]
    return [clip for clip in training if clip.corpus == corpus] or training


def _levels(
    clips: Sequence[Clip], norms: Norms, cache: Path, progress: Progress
) -> dict[str, Levels]:
    """Levels by clip id. A population without norms, as of a corpus that nothing was trained on,
    is measured against itself."""
    measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
    norms = _completed(norms, clips, measures)
    return {clip.id: norms.levels(clip, measures[clip.id]) for clip in clips}


def _completed(norms: Norms, clips: Sequence[Clip], measures: dict[str, Measures]) -> Norms:
    own = Norms.fit([replace(clip, split="train") for clip in clips], measures)
    return Norms({**own.borders, **norms.borders})


# -- running


def _ugsd(bench: EvaluationHarness) -> System:
    return System(UGSD, lambda: UncertaintyPolicy(bench.rejection_predictor.threshold))


def _run_arms(
    bench: EvaluationHarness,
    pair: Pair,
    corpora: Sequence[CorpusRun],
    wanted: set[str],
    progress: Progress,
) -> None:
    threshold = baselines.entropy_threshold(pair.drafter) if ENTROPY in wanted else None
    if ENTROPY in wanted and threshold is None:
        threshold = matched_entropy(bench, [corpus.clips for corpus in corpora], progress)
    arms = [
        System(ALONE, None),
        _ugsd(bench),
        baselines.entropy_gate(ENTROPY, threshold or 0.0),
        baselines.paper_recipe(RECIPE, baselines.RECIPE),
        baselines.first_token(FIRST),
        System(
            TOKENS,
            lambda: UncertaintyPolicy(bench.rejection_predictor.threshold, Disclosure.TOKENS),
        ),
        System(ALL, AlwaysEscalate),
    ]
    _run(bench, corpora, [arm for arm in arms if arm.name in wanted], progress)
    matched = [name for name in MATCHED if name in wanted]
    if matched:
        reaches = _reaches(bench, corpora, [baselines.FIXED_BLOCK], progress)
        whole = DisclosureMatch.mean(reaches)
        stage = Stage(progress, "matched arms", len(matched) * _clips_of(corpora))
        for corpus, reach in zip(corpora, reaches, strict=True):
            for name in matched:
                arm = _matched(name, whole if name in EVERYWHERE else reach, len(corpus.clips))
                corpus.said[name] = bench.run(arm, corpus.clips, stage)


def _run_candidates(
    bench: EvaluationHarness,
    pair: Pair,
    corpora: Sequence[CorpusRun],
    wanted: set[str],
    progress: Progress,
) -> None:
    """The candidates for the paper's recipe and for the fixed block."""
    recipes = [baselines.paper_recipe(_candidate(RECIPE, name), name) for name in baselines.RECIPES]
    _run(bench, corpora, [System(ALONE, None), _ugsd(bench), *recipes], progress)
    reaches = _reaches(bench, corpora, baselines.BLOCKS, progress)
    stage = Stage(progress, "fixed blocks", len(baselines.BLOCKS) * _clips_of(corpora))
    for corpus, reach in zip(corpora, reaches, strict=True):
        for block in baselines.BLOCKS:
            name = _candidate("fixed block", str(block))
            arm = baselines.fixed_block(name, block, reach.fixed_rate(block), len(corpus.clips))
            corpus.said[name] = bench.run(arm, corpus.clips, stage)


def _candidate(arm: str, choice: str) -> str:
    return f"{arm} ({choice})"


def _run(
    bench: EvaluationHarness,
    corpora: Sequence[CorpusRun],
    arms: Sequence[System],
    progress: Progress,
) -> None:
    stage = Stage(progress, "captioning", (len(arms) + 1) * _clips_of(corpora))
    for corpus in corpora:
        for arm in arms:
            corpus.said[arm.name] = bench.run(arm, corpus.clips, stage)
        corpus.said[VERIFIER] = bench.verifier_only(corpus.clips, VERIFIER, stage)


def _reaches(
    bench: EvaluationHarness,
    corpora: Sequence[CorpusRun],
    blocks: Sequence[int],
    progress: Progress,
) -> list[DisclosureMatch]:
    clips = sum(min(len(corpus.clips), MATCHING_CLIPS) for corpus in corpora)
    stage = Stage(progress, "matching disclosure", clips * (len(RATES) + len(blocks)))
    return [
        match_disclosure(bench, corpus.clips, corpus.said[UGSD], blocks, stage)
        for corpus in corpora
    ]


def _matched(name: str, reach: DisclosureMatch, captions: int) -> System:
    if name in (RANDOM, RANDOM_ALL):
        return random_gate(name, reach.random_rate())
    block = baselines.FIXED_BLOCK
    return baselines.fixed_block(name, block, reach.fixed_rate(block), captions)


def _clips_of(corpora: Sequence[CorpusRun]) -> int:
    return sum(len(corpus.clips) for corpus in corpora)


def _curves(
    bench: EvaluationHarness, pair: Pair, corpora: Sequence[CorpusRun], progress: Progress
) -> tuple[CorpusCurves, ...]:
    stage = Stage(progress, "curves", curves_total([corpus.clips for corpus in corpora]))
    return tuple(
        curves_of(bench, corpus.name, corpus.where, corpus.clips, stage) for corpus in corpora
    )


def _add_probe(corpora: Sequence[CorpusRun], probe: Mapping[str, str]) -> None:
    for corpus in corpora:
        missing = [clip.id for clip in corpus.clips if clip.id not in probe]
        if missing:
            raise EvaluationError(f"the probe has no emotion for {missing[0]}: probe every clip")
        corpus.probe = probe
