"""The rows of the tables: the definition of each number and its confidence interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.captions import LEVEL_VALUES, references
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
from ugsd_lab.evaluation.pairs import Domain
from ugsd_lab.evaluation.predictor_calibration import PredictorCalibration
from ugsd_lab.evaluation.systems import SystemOutput

__all__ = [
    "ALL",
    "ALONE",
    "ALWAYS",
    "ASK",
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
    "SYSTEMS",
    "TOKENS",
    "UGSD",
    "VERIFIER",
    "CorpusRun",
    "Difference",
    "Result",
    "Row",
    "as_json",
    "difference_of",
    "row_of",
    "systems_in_order",
]

MAJORITY, ALONE, UGSD = "majority caption", "drafter alone", "UGSD"
ENTROPY, RECIPE = "UGSD, entropy threshold", "paper's recipe"
RANDOM, RANDOM_ALL = "random, rate per corpus", "random, one rate"
FIXED, FIXED_ALL = "fixed block, rate per corpus", "fixed block, one rate"
TOKENS, ALL, VERIFIER = "tokens only", "escalate everything", "verifier on every token"
FIRST, ASK = "first token, always", "always ask"
PROBE = "probe on the audio embedding"

SYSTEMS = (
    MAJORITY, ALONE, UGSD, ASK, ENTROPY, RECIPE, RANDOM, RANDOM_ALL, FIXED, FIXED_ALL, FIRST,
    TOKENS, ALL, VERIFIER,
)  # fmt: skip
ALWAYS = (ALONE, UGSD, VERIFIER)
"""Always run, since the other systems are compared with them."""
EVERYWHERE = (RANDOM_ALL, FIXED_ALL)
MATCHED = (RANDOM, FIXED, *EVERYWHERE)
COMPARED = (ALONE, VERIFIER, ENTROPY, RECIPE, *MATCHED, FIRST)

_NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One system on one corpus. Values are means over its clips unless stated otherwise; a value
    that the system does not have is NaN."""

    corpus: str
    domain: Domain
    """Whether the corpus is in-domain for the drafter."""
    system: str
    clips: int
    speakers: int
    bleu: float = _NAN
    """This and the next three run from 0 to 100."""
    chrf: float = _NAN
    rouge_l: float = _NAN
    meteor: float = _NAN
    emotion: float = _NAN
    """Share of captions that name the right emotion and no other; likewise pitch, loudness, pace
    and gender."""
    emotion_low: float = _NAN
    emotion_high: float = _NAN
    """The 95 % interval of ``emotion``, bootstrapped over speakers."""
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
    """Distinct token positions that were disclosed / caption length, the end marker included."""
    disclosed_states: float = _NAN
    """The same for state positions."""
    round_trips: float = _NAN
    frames: float = _NAN
    bytes_sent: float = _NAN
    p50_ms: float = _NAN
    p95_ms: float = _NAN
    gap_emotion: Gap | None = None
    """The share of the gap in emotion accuracy that the system closes."""
    gap_bleu: Gap | None = None


@dataclass(frozen=True)
class Difference:
    """Emotion accuracy of UGSD minus another system's, over the same draws of speakers."""

    corpus: str
    domain: Domain
    against: str
    emotion: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """The results of one run."""

    rows: tuple[Row, ...]
    """By corpus, with the systems in the order of :data:`SYSTEMS`."""
    differences: tuple[Difference, ...]
    auroc: float
    """Area under the ROC curve of a caption's largest uncertainty, clips of other corpora against
    in-domain clips; NaN if the run had only one kind."""
    calibration: tuple[PredictorCalibration, ...]
    """How true the rejection predictor's probabilities are on each corpus."""
    signatures: Mapping[str, str]
    confusions: Mapping[str, Mapping[str, Confusion]]
    """Corpus -> drafter alone, UGSD, verifier."""
    curves: tuple[CorpusCurves, ...] = ()
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    """Corpus -> number of clips that were skipped because they have no emotion label."""
    sigma: float | None = None
    """Noise on the states that were sent, in clip norms."""


class CorpusRun:
    """The clips of one corpus, their reference captions, and the outputs of the systems."""

    def __init__(
        self, name: str, domain: Domain, clips: Sequence[Clip], levels: Mapping[str, Levels]
    ) -> None:
        self.name, self.domain, self.clips = name, domain, clips
        self.outputs: dict[str, dict[str, SystemOutput]] = {}
        self.references = [references(clip, levels[clip.id]) for clip in clips]
        self.speakers = [clip.speaker for clip in clips]
        self.probe: Mapping[str, str] = {}
        self._levels = levels
        self._bleu: dict[str, Measure] = {}

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """The bootstrap draws of speakers, the same for every measure."""
        return draws(len(set(self.speakers)))

    def texts(self, system: str) -> list[str]:
        return [self.outputs[system][clip.id].text for clip in self.clips]

    def right(self, system: str, attribute: str) -> list[float]:
        """Return 1 or 0 for each clip; NaN if its label is not known."""
        out = []
        for clip in self.clips:
            source = clip if attribute in ("emotion", "gender") else self._levels[clip.id]
            label: str | None = getattr(source, attribute)
            if label is not None and attribute in LEVEL_VALUES:
                label = LEVEL_VALUES[attribute][label]  # type: ignore[index]
            if label is None:
                out.append(_NAN)
            elif system == PROBE:
                out.append(float(self.probe[clip.id] == label))
            else:
                out.append(
                    float(attribute_right(self.outputs[system][clip.id].text, attribute, label))
                )
        return out

    def emotion(self, system: str) -> Measure:
        return share_measure(self.speakers, self.right(system, "emotion"))

    def bleu(self, system: str) -> Measure:
        if system not in self._bleu:
            self._bleu[system] = bleu_measure(self.speakers, self.texts(system), self.references)
        return self._bleu[system]

    def uncertainties(self) -> list[float]:
        """Return the largest uncertainty in the drafter's own caption of each clip."""
        return [self.outputs[ALONE][clip.id].uncertainty for clip in self.clips]

    def confusion(self, system: str) -> Confusion:
        known = [
            (t, c.emotion) for t, c in zip(self.texts(system), self.clips, strict=True) if c.emotion
        ]
        return confusion([text for text, _ in known], [emotion for _, emotion in known])


def as_json(result: Result) -> dict[str, object]:
    """Return the result as plain data; a measure that a system does not have is null."""
    return {
        "rows": [_plain(asdict(row)) for row in result.rows],
        "differences": [_plain(asdict(difference)) for difference in result.differences],
        "auroc": _plain(result.auroc),
        "sigma": result.sigma,
        "calibration": [_plain(asdict(one)) for one in result.calibration],
        "signatures": dict(result.signatures),
        "predictor_quality": {
            curves.corpus: _plain(curves.predictor_quality) for curves in result.curves
        },
    }


def systems_in_order(corpus: CorpusRun) -> list[str]:
    """Return the systems that were run, in the order of a table; candidates come before the
    verifier."""
    last = len(SYSTEMS) - 1
    systems = sorted(
        corpus.outputs, key=lambda system: SYSTEMS.index(system) if system in SYSTEMS else last - 1
    )
    return [*systems, PROBE] if corpus.probe else systems


def row_of(corpus: CorpusRun, system: str) -> Row:
    row = Row(corpus.name, corpus.domain, system, len(corpus.clips), len(set(corpus.speakers)))
    emotion = corpus.emotion(system)
    low, high = interval(emotion.redrawn(corpus.weights))
    row = replace(row, emotion=emotion.value, emotion_low=low, emotion_high=high)
    if system == PROBE:
        return row
    right = {attribute: _known_mean(corpus.right(system, attribute)) for attribute in ATTRIBUTES}
    texts = corpus.texts(system)
    times = [corpus.outputs[system][clip.id].total_ms for clip in corpus.clips]
    return replace(
        row,
        bleu=corpus.bleu(system).value,
        chrf=chrf(texts, corpus.references),
        rouge_l=rouge_l(texts, corpus.references),
        meteor=meteor(texts, corpus.references),
        pitch=right["pitch"],
        loudness=right["loudness"],
        pace=right["pace"],
        gender=right["gender"],
        attributes=_known_mean(list(right.values())),
        words=float(np.mean([len(text.split()) for text in texts])),
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
        **_costs(corpus, system),
        **_gaps(corpus, system),
    )


def _costs(corpus: CorpusRun, system: str) -> dict[str, Any]:
    captions = [
        c for clip in corpus.clips if (c := corpus.outputs[system][clip.id].caption) is not None
    ]
    if not captions:
        return {}
    costs = [caption.usage for caption in captions]
    length = sum(len(caption.tokens) + 1 for caption in captions)
    outputs = list(corpus.outputs[system].values())
    return {
        "escalation": escalated_share(outputs),
        "disclosed": disclosed_share(outputs),
        "disclosed_states": sum(c.num_disclosed_states for c in costs) / length,
        "round_trips": float(np.mean([c.num_blocks for c in costs])),
        "frames": float(np.mean([c.num_frames for c in costs])),
        "bytes_sent": float(np.mean([c.bytes_sent for c in costs])),
    }


def _gaps(corpus: CorpusRun, system: str) -> dict[str, Any]:
    if system in (ALONE, VERIFIER, MAJORITY):
        return {}
    return {
        f"gap_{name}": gap_closed(
            measure(system), measure(ALONE), measure(VERIFIER), corpus.weights
        )
        for name, measure in (("emotion", corpus.emotion), ("bleu", corpus.bleu))
    }


def difference_of(corpus: CorpusRun, system: str) -> Difference:
    ours, theirs = corpus.emotion(UGSD), corpus.emotion(system)
    low, high = interval(ours.redrawn(corpus.weights) - theirs.redrawn(corpus.weights))
    return Difference(corpus.name, corpus.domain, system, ours.value - theirs.value, low, high)


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else _NAN


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
