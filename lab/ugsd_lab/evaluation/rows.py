"""The rows of the table: what each number is, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.captions import references
from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Levels
from ugsd_lab.evaluation.curves import CorpusCurves
from ugsd_lab.evaluation.intervals import (
    Gap,
    Measure,
    bleu_measure,
    draws,
    gap_closed,
    interval,
    share_measure,
)
from ugsd_lab.evaluation.matching import disclosed_share, escalated_share
from ugsd_lab.evaluation.metrics import (
    ATTRIBUTES,
    Confusion,
    attribute_right,
    chrf,
    confusion,
    meteor,
    rouge_l,
)
from ugsd_lab.evaluation.pairs import Where
from ugsd_lab.evaluation.systems import SystemOutput

__all__ = [
    "ALL",
    "ALONE",
    "ALWAYS",
    "ARMS",
    "COMPARED",
    "ENTROPY",
    "EVERYWHERE",
    "FIXED",
    "FIXED_ALL",
    "MAJORITY",
    "MATCHED",
    "PROBE",
    "RANDOM",
    "RANDOM_ALL",
    "RECIPE",
    "TOKENS",
    "UGSD",
    "VERIFIER",
    "CorpusRun",
    "Difference",
    "Result",
    "Row",
    "arms_in_order",
    "as_json",
    "difference_of",
    "row_of",
]

MAJORITY, ALONE, UGSD = "majority caption", "drafter alone", "UGSD"
ENTROPY, RECIPE = "UGSD, entropy gate", "paper's recipe"
RANDOM, RANDOM_ALL = "random, matched here", "random, one rate"
FIXED, FIXED_ALL = "fixed block, matched here", "fixed block, one rate"
TOKENS, ALL, VERIFIER = "tokens only", "escalate everything", "verifier on every token"
FIRST = "first token, always"
PROBE = "probe on the evidence"

ARMS = (
    MAJORITY, ALONE, UGSD, ENTROPY, RECIPE, RANDOM, RANDOM_ALL, FIXED, FIXED_ALL, FIRST, TOKENS,
    ALL, VERIFIER,
)  # fmt: skip
ALWAYS = (ALONE, UGSD, VERIFIER)
"""Run whatever is asked for, since the others refer to them."""
EVERYWHERE = (RANDOM_ALL, FIXED_ALL)
MATCHED = (RANDOM, FIXED, *EVERYWHERE)
COMPARED = (ALONE, VERIFIER, ENTROPY, RECIPE, *MATCHED, FIRST)

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
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    """Corpus -> clips that were left out for want of an emotion label."""


class CorpusRun:
    """The clips of one corpus, what is wanted of them, and what the arms said."""

    def __init__(
        self, name: str, where: Where, clips: Sequence[Clip], levels: Mapping[str, Levels]
    ) -> None:
        self.name, self.where, self.clips = name, where, clips
        self.said: dict[str, dict[str, SystemOutput]] = {}
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
        out = []
        for clip in self.clips:
            of = clip if attribute in ("emotion", "gender") else self._levels[clip.id]
            label: str | None = getattr(of, attribute)
            if label is None:
                out.append(_NAN)
            elif arm == PROBE:
                out.append(float(self.probe[clip.id] == label))
            else:
                out.append(float(attribute_right(self.said[arm][clip.id].text, attribute, label)))
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


def as_json(result: Result) -> dict[str, object]:
    """Plain data; a measure that an arm does not have is null."""
    return {
        "rows": [_plain(asdict(row)) for row in result.rows],
        "differences": [_plain(asdict(difference)) for difference in result.differences],
        "auroc": _plain(result.auroc),
        "signatures": dict(result.signatures),
        "gate_quality": {curves.corpus: _plain(curves.gate_quality) for curves in result.curves},
    }


def arms_in_order(corpus: CorpusRun) -> list[str]:
    """The arms that were run, as a table lists them; candidates come before the verifier."""
    last = len(ARMS) - 1
    arms = sorted(corpus.said, key=lambda arm: ARMS.index(arm) if arm in ARMS else last - 1)
    return [*arms, PROBE] if corpus.probe else arms


def row_of(corpus: CorpusRun, arm: str) -> Row:
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


def _costs(corpus: CorpusRun, arm: str) -> dict[str, Any]:
    captions = [c for clip in corpus.clips if (c := corpus.said[arm][clip.id].caption) is not None]
    if not captions:
        return {}
    costs = [caption.usage for caption in captions]
    length = sum(len(caption.tokens) + 1 for caption in captions)
    said = list(corpus.said[arm].values())
    return {
        "escalation": escalated_share(said),
        "disclosed": disclosed_share(said),
        "disclosed_states": sum(c.num_disclosed_states for c in costs) / length,
        "round_trips": float(np.mean([c.num_blocks for c in costs])),
        "frames": float(np.mean([c.num_frames for c in costs])),
        "bytes_sent": float(np.mean([c.bytes_sent for c in costs])),
    }


def _gaps(corpus: CorpusRun, arm: str) -> dict[str, Any]:
    if arm in (ALONE, VERIFIER, MAJORITY):
        return {}
    return {
        f"gap_{name}": gap_closed(of(arm), of(ALONE), of(VERIFIER), corpus.weights)
        for name, of in (("emotion", corpus.emotion), ("bleu", corpus.bleu))
    }


def difference_of(corpus: CorpusRun, arm: str) -> Difference:
    ours, theirs = corpus.emotion(UGSD), corpus.emotion(arm)
    low, high = interval(ours.redrawn(corpus.weights) - theirs.redrawn(corpus.weights))
    return Difference(corpus.name, corpus.where, arm, ours.value - theirs.value, low, high)


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else _NAN


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
