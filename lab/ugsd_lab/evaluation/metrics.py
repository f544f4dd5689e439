"""The measures of a table, one definition each.

BLEU, chrF, ROUGE-L and METEOR run from 0 to 100; shares from 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.captions import attributes_named

__all__ = [
    "ATTRIBUTES",
    "Confusion",
    "attribute_right",
    "auroc",
    "bleu",
    "bleu_of",
    "bleu_statistics",
    "chrf",
    "confusion",
    "emotion_right",
    "meteor",
    "rouge_l",
    "signatures",
]

ATTRIBUTES = ("emotion", "pitch", "loudness", "pace", "gender")
"""What attribute accuracy is measured of."""

_UNSAID = "mid"
"""The level that references often leave unsaid, so that a caption which is silent claims it."""
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_TEXTS_KEPT = 100_000


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """sacreBLEU's corpus BLEU of each caption against all of its references."""
    return bleu_of(bleu_statistics(captions, references))


def bleu_statistics(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.int64]:
    """(10,) what corpus BLEU is computed from: matches and totals of 1- to 4-grams and the lengths
    of captions and references. The statistics of clips taken together are their sum."""
    import sacrebleu

    score = sacrebleu.BLEU().corpus_score(list(captions), _streams(references))
    return np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], dtype=np.int64)


def bleu_of(statistics: NDArray[np.int64]) -> float:
    """Corpus BLEU of summed :func:`bleu_statistics`."""
    import sacrebleu

    counts = [int(value) for value in statistics]
    score = sacrebleu.BLEU.compute_bleu(
        counts[:4], counts[4:8], counts[8], counts[9], smooth_method="exp"
    )
    return float(score.score)


def chrf(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """sacreBLEU's corpus chrF of each caption against all of its references."""
    import sacrebleu

    return float(sacrebleu.CHRF().corpus_score(list(captions), _streams(references)).score)


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean over captions of Google's ROUGE-L F1 against the reference that fits best, unstemmed."""
    return _mean_over(_rouge_l, captions, references)


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean over captions of NLTK's METEOR against the reference that fits best.

    Words match exactly or by Porter's stem. METEOR's third stage, synonyms, would need WordNet to
    be downloaded and is left out, so that scores are lower than with it.
    """
    return _mean_over(_meteor, captions, references)


def signatures(references: int) -> dict[str, str]:
    """What others need to compute the same numbers against ``references`` per caption."""
    import sacrebleu

    out = {}
    for name, metric in (("BLEU", sacrebleu.BLEU()), ("chrF", sacrebleu.CHRF())):
        metric.corpus_score(["a"], [["a"]] * references)
        out[name] = str(metric.get_signature())
    out["ROUGE-L"] = f"rouge-score {version('rouge-score')}, F1, best reference, unstemmed"
    out["METEOR"] = f"nltk {version('nltk')}, best reference, exact and stem matches, no synonyms"
    return out


def attribute_right(caption: str, attribute: str, value: str) -> bool:
    """Whether the caption names ``value`` and no other value of ``attribute``.

    A caption that says nothing of pitch, loudness or pace claims nothing unusual: it counts as
    ``mid``, as in the references, which often leave that unsaid.
    """
    named = attributes_named(caption, attribute)
    return named == {value} or (value == _UNSAID and not named)


def emotion_right(caption: str, emotion: str) -> bool:
    """Whether the caption names the emotion, and no other."""
    return attribute_right(caption, "emotion", emotion)


@dataclass(frozen=True)
class Confusion:
    """How often which emotion was named of a clip with which label."""

    labels: tuple[str, ...]
    named: tuple[str, ...]
    """The labels, then ``other``, an emotion that is no label here; ``several``; ``none``."""
    counts: NDArray[np.int64]
    """(labels, named)"""


def confusion(captions: Sequence[str], emotions: Sequence[str]) -> Confusion:
    """Labels against what the captions name."""
    labels = tuple(sorted(set(emotions)))
    named = (*labels, "other", "several", "none")
    counts = np.zeros((len(labels), len(named)), dtype=np.int64)
    for text, emotion in zip(captions, emotions, strict=True):
        counts[labels.index(emotion), named.index(_named(text, labels))] += 1
    return Confusion(labels, named, counts)


def auroc(low: Sequence[float], high: Sequence[float]) -> float:
    """Probability that a score drawn from ``high`` exceeds one drawn from ``low``, ties counting
    half: the area under the ROC curve by the rank formula. NaN where either is empty."""
    if not (len(low) and len(high)):
        return float("nan")
    ordered, scores = np.sort(np.asarray(low, dtype=float)), np.asarray(high, dtype=float)
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return float(below.mean() / (2 * len(ordered)))


def _named(text: str, labels: Sequence[str]) -> str:
    match sorted(attributes_named(text, "emotion")):
        case []:
            return "none"
        case [emotion]:
            return emotion if emotion in labels else "other"
        case _:
            return "several"


def _streams(references: Sequence[Sequence[str]]) -> list[list[str]]:
    """One list per reference index, as sacreBLEU takes them."""
    return [list(stream) for stream in zip(*references, strict=True)]


def _mean_over(
    score: Callable[[str, tuple[str, ...]], float],
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
) -> float:
    pairs = zip(captions, references, strict=True)
    return 100 * float(np.mean([score(text, tuple(texts)) for text, texts in pairs]))


# Arms often say the same of a clip: each caption is scored once.


@lru_cache(_TEXTS_KEPT)
def _rouge_l(caption: str, references: tuple[str, ...]) -> float:
    return float(_rouge().score_multi(references, caption)["rougeL"].fmeasure)


@lru_cache(_TEXTS_KEPT)
def _meteor(caption: str, references: tuple[str, ...]) -> float:
    from nltk.translate.meteor_score import meteor_score

    return float(
        meteor_score(
            [_WORD.findall(text) for text in references],
            _WORD.findall(caption),
            stemmer=_Stems(),
            wordnet=_NoSynonyms(),
        )
    )


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


class _Stems:
    """Porter's stems, each computed once."""

    def stem(self, word: str) -> str:
        return _stem(word)


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@cache
def _stem(word: str) -> str:
    return str(_porter().stem(word))


class _NoSynonyms:
    """Stands in for WordNet, which the package does not bring and never downloads."""

    def synsets(self, word: str) -> list[object]:
        return []
