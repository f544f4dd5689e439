"""The rows: every arm on the same clips, corpus by corpus, with how sure each number is."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.wire import Disclosure
from ugsd_sdk.policy import AlwaysEscalate, UncertaintyPolicy

from ugsd_lab.captions import references
from ugsd_lab.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import baselines
from ugsd_lab.evaluation.arms import Arm, Bench, Said, Stage
from ugsd_lab.evaluation.curves import CorpusCurves, curves_of, curves_total, matched_entropy
from ugsd_lab.evaluation.intervals import (
    Gap,
    Measure,
    bleu_measure,
    draws,
    gap_closed,
    interval,
    share_measure,
)
from ugsd_lab.evaluation.matching import MATCHING_CLIPS, MATCHING_RUNS, Reach, random_gate, reach_of
from ugsd_lab.evaluation.pairs import Pair, Where
from ugsd_lab.metrics import (
    ATTRIBUTES,
    Confusion,
    attribute_right,
    auroc,
    chrf,
    confusion,
    meteor,
    rouge_l,
    signatures,
)
from ugsd_lab.prosody import Levels, Measures, Norms, measure_all

if TYPE_CHECKING:
    from ugsd_lab.listening import Progress

__all__ = ["ARMS", "Difference", "Result", "Row", "as_json", "evaluate"]

MAJORITY, ALONE, UGSD = "majority caption", "drafter alone", "UGSD"
ENTROPY, RECIPE = "UGSD, entropy gate", "paper's recipe"
RANDOM, RANDOM_ALL = "random, matched here", "random, one rate"
FIXED, FIXED_ALL = "fixed block, matched here", "fixed block, one rate"
TOKENS, ALL, VERIFIER = "tokens only", "escalate everything", "verifier on every token"
PROBE = "probe on the evidence"

ARMS = (
    MAJORITY, ALONE, UGSD, ENTROPY, RECIPE, RANDOM, RANDOM_ALL, FIXED, FIXED_ALL, TOKENS, ALL,
    VERIFIER,
)  # fmt: skip
ALWAYS = (ALONE, UGSD, VERIFIER)
"""Run whatever is asked for, since the others refer to them."""
_EVERYWHERE = (RANDOM_ALL, FIXED_ALL)
_MATCHED = (RANDOM, FIXED, *_EVERYWHERE)
_COMPARED = (ALONE, VERIFIER, ENTROPY, RECIPE, *_MATCHED)

_NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One arm on one corpus; means over its clips unless said otherwise. What an arm does not have
    is NaN."""

    corpus: str
    where: Where
    """Whether the drafter is at home there."""
    arm: str
    clips: int
    speakers: int
    bleu: float = _NAN
    """This and the next three run from 0 to 100."""
    chrf: float = _NAN
    rouge_l: float = _NAN
    meteor: float = _NAN
    emotion: float = _NAN
    """Share of captions that name the right emotion and no other; so for the next four."""
    emotion_low: float = _NAN
    emotion_high: float = _NAN
    """Its 95 % interval, bootstrapped over speakers."""
    pitch: float = _NAN
    loudness: float = _NAN
    pace: float = _NAN
    gender: float = _NAN
    attributes: float = _NAN
    """Mean of the five attributes."""
    words: float = _NAN
    escalation: float = _NAN
    """Escalated tokens / drafted tokens."""
    disclosed: float = _NAN
    """Distinct token positions that left / caption length, the end marker included."""
    disclosed_states: float = _NAN
    """The same of state positions."""
    round_trips: float = _NAN
    frames: float = _NAN
    bytes_sent: float = _NAN
    p50_ms: float = _NAN
    p95_ms: float = _NAN
    gap_emotion: Gap | None = None
    """How much of the gap in emotion the arm closes."""
    gap_bleu: Gap | None = None


@dataclass(frozen=True)
class Difference:
    """UGSD minus another arm, in emotion, over the same draws of speakers."""

    corpus: str
    where: Where
    against: str
    emotion: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """All that one run found."""

    rows: tuple[Row, ...]
    """By corpus, arms in the order of :data:`ARMS`."""
    differences: tuple[Difference, ...]
    auroc: float
    """How well a caption's largest uncertainty tells clips away from home from those at home; NaN
    where the run had only one kind."""
    signatures: Mapping[str, str]
    confusions: Mapping[str, Mapping[str, Confusion]]
    """Corpus -> drafter alone, UGSD, verifier."""
    curves: tuple[CorpusCurves, ...] = ()


class _Corpus:
    """The clips of one corpus, what is wanted of them, and what the arms said."""

    def __init__(
        self, name: str, where: Where, clips: Sequence[Clip], levels: Mapping[str, Levels]
    ) -> None:
        self.name, self.where, self.clips = name, where, clips
        self.said: dict[str, dict[str, Said]] = {}
        self.wanted = [references(clip, levels[clip.id]) for clip in clips]
        self.speakers = [clip.speaker for clip in clips]
        self.probe: Mapping[str, str] = {}
        self._levels = levels
        self._bleu: dict[str, Measure] = {}

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """The draws of speakers, the same for every measure."""
        return draws(len(set(self.speakers)))

    def texts(self, arm: str) -> list[str]:
        return [self.said[arm][clip.id].text for clip in self.clips]

    def right(self, arm: str, attribute: str) -> list[float]:
        """1 or 0 for each clip; NaN where its label is not known."""
        if arm == PROBE:
            return [float(self.probe[clip.id] == clip.emotion) for clip in self.clips]
        out = []
        for clip, text in zip(self.clips, self.texts(arm), strict=True):
            of = clip if attribute in ("emotion", "gender") else self._levels[clip.id]
            label: str | None = getattr(of, attribute)
            out.append(_NAN if label is None else float(attribute_right(text, attribute, label)))
        return out

    def emotion(self, arm: str) -> Measure:
        return share_measure(self.speakers, self.right(arm, "emotion"))

    def bleu(self, arm: str) -> Measure:
        if arm not in self._bleu:
            self._bleu[arm] = bleu_measure(self.speakers, self.texts(arm), self.wanted)
        return self._bleu[arm]

    def uncertainties(self) -> list[float]:
        """The largest of each clip's own draft."""
        captions = [self.said[ALONE][clip.id].caption for clip in self.clips]
        tokens = [() if caption is None else caption.tokens for caption in captions]
        return [max((t.uncertainty or 0.0 for t in of), default=0.0) for of in tokens]

    def confusion(self, arm: str) -> Confusion:
        known = [
            (t, c.emotion) for t, c in zip(self.texts(arm), self.clips, strict=True) if c.emotion
        ]
        return confusion([text for text, _ in known], [emotion for _, emotion in known])


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
    of ``split``, at most ``limit`` per speaker. The training clips give the majority caption.

    ``tune`` runs the candidates for the baselines instead. ``curves`` also moves the thresholds.
    ``probe`` has an emotion for each clip's id, as read from the drafter's evidence by a model
    without words. Raises :class:`EvaluationError` for arms or clips that there are not.
    """
    chosen = _limited([clip for clip in clips if clip.split == split], limit)
    if not chosen:
        raise EvaluationError(f"no clips of split {split!r} in these corpora: name another --split")
    names = list(dict.fromkeys(clip.corpus for clip in chosen))
    wanted = _wanted(arms, several=len(names) > 1)
    training = {name: _training(clips, name) for name in names} if MAJORITY in wanted else {}
    typical = {
        name: baselines.sample(of, baselines.MAJORITY_SAMPLE) for name, of in training.items()
    }
    levels = _levels([*chosen, *(c for of in typical.values() for c in of)], norms, cache, progress)
    corpora = [
        _Corpus(name, pair.where(name), [c for c in chosen if c.corpus == name], levels)
        for name in names
    ]
    with tempfile.TemporaryDirectory(prefix="ugsd-evaluate-") as home:
        bench = Bench(pair, Path(home))
        listening = Stage(progress, "listening", len(chosen))
        for clip in chosen:
            bench.heard.listen(clip)
            listening.tick()
        for corpus in corpora if MAJORITY in wanted else ():
            known = {clip.id: levels[clip.id] for clip in typical[corpus.name]}
            text = baselines.majority_caption(training[corpus.name], known)
            corpus.said[MAJORITY] = {clip.id: Said(text) for clip in corpus.clips}
        (_run_candidates if tune else _run_arms)(bench, pair, corpora, wanted, progress)
        found = _curves(bench, pair, corpora, progress) if curves else ()
    if probe is not None:
        _add_probe(corpora, probe)
    return Result(
        rows=tuple(_row(corpus, arm) for corpus in corpora for arm in _in_order(corpus)),
        differences=tuple(
            _difference(corpus, arm)
            for corpus in corpora
            for arm in _in_order(corpus)
            if arm in _COMPARED
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
    )


def as_json(result: Result) -> dict[str, object]:
    """Plain data; a measure that an arm does not have is null."""
    return {
        "rows": [_plain(asdict(row)) for row in result.rows],
        "differences": [_plain(asdict(difference)) for difference in result.differences],
        "auroc": _plain(result.auroc),
        "signatures": dict(result.signatures),
        "gate_quality": {curves.corpus: _plain(curves.gate_quality) for curves in result.curves},
    }


# -- which clips and arms


def _wanted(arms: Collection[str] | None, *, several: bool) -> set[str]:
    unknown = sorted(set(arms or ()) - set(ARMS))
    if unknown:
        raise EvaluationError(f"no arm {unknown[0]!r}; there are: {'; '.join(ARMS)}")
    wanted = {*(ARMS if arms is None else arms), *ALWAYS}
    return wanted if several else wanted - set(_EVERYWHERE)  # the same as matched to one corpus


def _limited(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    if limit is None:
        return list(clips)
    speakers = dict.fromkeys((clip.corpus, clip.speaker) for clip in clips)
    kept: set[str] = set()
    for corpus, speaker in speakers:
        own = [clip for clip in clips if (clip.corpus, clip.speaker) == (corpus, speaker)]
        kept |= {clip.id for clip in baselines.sample(own, limit, salt=speaker)}
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
    return Norms({**own.quartiles, **norms.quartiles})


# -- running


def _ugsd(bench: Bench) -> Arm:
    return Arm(UGSD, lambda: UncertaintyPolicy(bench.gate.threshold))


def _run_arms(
    bench: Bench, pair: Pair, corpora: Sequence[_Corpus], wanted: set[str], progress: Progress
) -> None:
    threshold = baselines.entropy_threshold(pair.drafter) if ENTROPY in wanted else None
    if ENTROPY in wanted and threshold is None:
        threshold = matched_entropy(bench, [corpus.clips for corpus in corpora], progress)
    arms = [
        Arm(ALONE, None),
        _ugsd(bench),
        baselines.entropy_gate(ENTROPY, threshold or 0.0),
        baselines.paper_recipe(RECIPE, baselines.RECIPE),
        Arm(TOKENS, lambda: UncertaintyPolicy(bench.gate.threshold, Disclosure.TOKENS)),
        Arm(ALL, AlwaysEscalate),
    ]
    _run(bench, corpora, [arm for arm in arms if arm.name in wanted], progress)
    matched = [name for name in _MATCHED if name in wanted]
    if matched:
        reaches = _reaches(bench, corpora, progress)
        whole = Reach.mean(reaches)
        stage = Stage(progress, "matched arms", len(matched) * _clips_of(corpora))
        for corpus, reach in zip(corpora, reaches, strict=True):
            for name in matched:
                arm = _matched(name, whole if name in _EVERYWHERE else reach, len(corpus.clips))
                corpus.said[name] = bench.run(arm, corpus.clips, stage)


def _run_candidates(
    bench: Bench, pair: Pair, corpora: Sequence[_Corpus], wanted: set[str], progress: Progress
) -> None:
    """The candidates for the paper's recipe and for the fixed block."""
    recipes = [baselines.paper_recipe(_candidate(RECIPE, name), name) for name in baselines.RECIPES]
    _run(bench, corpora, [Arm(ALONE, None), _ugsd(bench), *recipes], progress)
    reaches = _reaches(bench, corpora, progress)
    stage = Stage(progress, "fixed blocks", len(baselines.BLOCKS) * _clips_of(corpora))
    for corpus, reach in zip(corpora, reaches, strict=True):
        for block in baselines.BLOCKS:
            name = _candidate("fixed block", str(block))
            arm = baselines.fixed_block(name, *reach.fixed(block), len(corpus.clips))
            corpus.said[name] = bench.run(arm, corpus.clips, stage)


def _candidate(arm: str, choice: str) -> str:
    return f"{arm} ({choice})"


def _run(bench: Bench, corpora: Sequence[_Corpus], arms: Sequence[Arm], progress: Progress) -> None:
    stage = Stage(progress, "captioning", (len(arms) + 1) * _clips_of(corpora))
    for corpus in corpora:
        for arm in arms:
            corpus.said[arm.name] = bench.run(arm, corpus.clips, stage)
        corpus.said[VERIFIER] = bench.verifier_alone(corpus.clips, VERIFIER, stage)


def _reaches(bench: Bench, corpora: Sequence[_Corpus], progress: Progress) -> list[Reach]:
    total = sum(min(len(corpus.clips), MATCHING_CLIPS) for corpus in corpora) * MATCHING_RUNS
    stage = Stage(progress, "matching disclosure", total)
    return [reach_of(bench, corpus.clips, corpus.said[UGSD], stage) for corpus in corpora]


def _matched(name: str, reach: Reach, captions: int) -> Arm:
    if name in (RANDOM, RANDOM_ALL):
        return random_gate(name, reach.random_rate())
    return baselines.fixed_block(name, *reach.fixed(baselines.FIXED_BLOCK), captions)


def _clips_of(corpora: Sequence[_Corpus]) -> int:
    return sum(len(corpus.clips) for corpus in corpora)


def _curves(
    bench: Bench, pair: Pair, corpora: Sequence[_Corpus], progress: Progress
) -> tuple[CorpusCurves, ...]:
    labelled = [(corpus, [c for c in corpus.clips if c.emotion]) for corpus in corpora]
    stage = Stage(progress, "curves", curves_total([clips for _, clips in labelled]))
    return tuple(
        curves_of(bench, corpus.name, corpus.where, clips, stage)
        for corpus, clips in labelled
        if clips
    )


# -- rows


def _in_order(corpus: _Corpus) -> list[str]:
    """The arms that were run, as a table lists them; candidates come before the verifier."""
    last = len(ARMS) - 1
    arms = sorted(corpus.said, key=lambda arm: ARMS.index(arm) if arm in ARMS else last - 1)
    return [*arms, PROBE] if corpus.probe else arms


def _row(corpus: _Corpus, arm: str) -> Row:
    row = Row(corpus.name, corpus.where, arm, len(corpus.clips), len(set(corpus.speakers)))
    emotion = corpus.emotion(arm)
    low, high = interval(emotion.redrawn(corpus.weights))
    row = replace(row, emotion=emotion.value, emotion_low=low, emotion_high=high)
    if arm == PROBE:
        return row
    right = {attribute: _known_mean(corpus.right(arm, attribute)) for attribute in ATTRIBUTES}
    texts = corpus.texts(arm)
    times = [corpus.said[arm][clip.id].total_ms for clip in corpus.clips]
    return replace(
        row,
        bleu=corpus.bleu(arm).value,
        chrf=chrf(texts, corpus.wanted),
        rouge_l=rouge_l(texts, corpus.wanted),
        meteor=meteor(texts, corpus.wanted),
        pitch=right["pitch"],
        loudness=right["loudness"],
        pace=right["pace"],
        gender=right["gender"],
        attributes=_known_mean(list(right.values())),
        words=float(np.mean([len(text.split()) for text in texts])),
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
        **_costs(corpus, arm),
        **_gaps(corpus, arm),
    )


def _costs(corpus: _Corpus, arm: str) -> dict[str, Any]:
    captions = [c for clip in corpus.clips if (c := corpus.said[arm][clip.id].caption) is not None]
    if not captions:
        return {}
    costs = [caption.escalation for caption in captions]
    length = sum(len(caption.tokens) + 1 for caption in captions)
    return {
        "escalation": sum(c.tokens for c in costs) / sum(c.drafted_tokens for c in costs),
        "disclosed": sum(c.disclosed_tokens for c in costs) / length,
        "disclosed_states": sum(c.disclosed_states for c in costs) / length,
        "round_trips": float(np.mean([c.blocks for c in costs])),
        "frames": float(np.mean([c.frames for c in costs])),
        "bytes_sent": float(np.mean([c.bytes_sent for c in costs])),
    }


def _gaps(corpus: _Corpus, arm: str) -> dict[str, Any]:
    if arm in (ALONE, VERIFIER, MAJORITY):
        return {}
    return {
        f"gap_{name}": gap_closed(of(arm), of(ALONE), of(VERIFIER), corpus.weights)
        for name, of in (("emotion", corpus.emotion), ("bleu", corpus.bleu))
    }


def _difference(corpus: _Corpus, arm: str) -> Difference:
    ours, theirs = corpus.emotion(UGSD), corpus.emotion(arm)
    low, high = interval(ours.redrawn(corpus.weights) - theirs.redrawn(corpus.weights))
    return Difference(corpus.name, corpus.where, arm, ours.value - theirs.value, low, high)


def _add_probe(corpora: Sequence[_Corpus], probe: Mapping[str, str]) -> None:
    for corpus in corpora:
        missing = [clip.id for clip in corpus.clips if clip.id not in probe]
        if missing:
            raise EvaluationError(f"the probe has no emotion for {missing[0]}: probe every clip")
        corpus.probe = probe


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else _NAN


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
