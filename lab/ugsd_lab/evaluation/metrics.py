"""The metrics of the tables.

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

from ugsd_lab.data.lexicon import attributes_named

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
"""The attributes whose accuracy is measured."""

_UNNAMED = ("moderate", "medium")
"""The values that a caption claims if it names none, since it words what is remarkable."""
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_CACHED_TEXTS = 100_000


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return sacreBLEU's corpus BLEU, each caption against all of its references."""
    return bleu_of(bleu_statistics(captions, references))


def bleu_statistics(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.int64]:
    """Return (10,) the statistics that corpus BLEU is computed from: matches and totals of 1- to
    4-grams and the lengths of captions and references. They add up over clips."""
    import sacrebleu

    score = sacrebleu.BLEU().corpus_score(list(captions), _streams(references))
    return np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], dtype=np.int64)


def bleu_of(statistics: NDArray[np.int64]) -> float:
    """Return corpus BLEU from summed :func:`bleu_statistics`."""
    import sacrebleu

    counts = [int(value) for value in statistics]
    score = sacrebleu.BLEU.compute_bleu(
        counts[:4], counts[4:8], counts[8], counts[9], smooth_method="exp"
    )
    return float(score.score)


def chrf(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return sacreBLEU's corpus chrF, each caption against all of its references."""
    import sacrebleu

    return float(sacrebleu.CHRF().corpus_score(list(captions), _streams(references)).score)


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the mean over captions of Google's ROUGE-L F1, best reference, unstemmed."""
    return _mean_over(_rouge_l, captions, references)


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the mean over captions of NLTK's METEOR against the best reference.

    Words match exactly or by Porter stem. METEOR's third stage, synonyms, would need a download of
    WordNet and is omitted, so scores are lower than with it.
    """
    return _mean_over(_meteor, captions, references)


def signatures(references: int) -> dict[str, str]:
    """Return the settings needed to reproduce the scores with ``references`` per caption."""
    import sacrebleu

    out = {}
    for name, metric in (("BLEU", sacrebleu.BLEU()), ("chrF", sacrebleu.CHRF())):
        metric.corpus_score(["a"], [["a"]] * references)
        out[name] = str(metric.get_signature())
    out["ROUGE-L"] = f"rouge-score {version('rouge-score')}, F1, best reference, unstemmed"
    out["METEOR"] = f"nltk {version('nltk')}, best reference, exact and stem matches, no synonyms"
    return out


def attribute_right(caption: str, attribute: str, value: str) -> bool:
    """Return whether the caption names ``value`` and no other value of ``attribute``.

    A caption that does not name pitch, loudness or pace counts as one that names the ordinary
    value.
    """
    named = attributes_named(caption, attribute)
    return named == {value} or (value in _UNNAMED and not named)


def emotion_right(caption: str, emotion: str) -> bool:
    """Return whether the caption names the emotion and no other."""
    return attribute_right(caption, "emotion", emotion)


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix of emotion labels and the emotions that captions name."""

    labels: tuple[str, ...]
    named: tuple[str, ...]
    """The labels, then ``other`` (an emotion that is not a label), ``several``, ``none``."""
    counts: NDArray[np.int64]
    """(labels, named)"""


def confusion(captions: Sequence[str], emotions: Sequence[str]) -> Confusion:
    """Return the confusion matrix of the labels ``emotions`` and the emotions in ``captions``."""
    labels = tuple(sorted(set(emotions)))
    named = (*labels, "other", "several", "none")
    counts = np.zeros((len(labels), len(named)), dtype=np.int64)
    for text, emotion in zip(captions, emotions, strict=True):
        counts[labels.index(emotion), named.index(_named(text, labels))] += 1
    return Confusion(labels, named, counts)


def auroc(low: Sequence[float], high: Sequence[float]) -> float:
    """Return the area under the ROC curve: the probability that a score from ``high`` exceeds one
    from ``low``, with ties counting half. NaN if either is empty."""
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
    """Return one list per reference index, as sacreBLEU expects."""
    return [list(stream) for stream in zip(*references, strict=True)]


def _mean_over(
    score: Callable[[str, tuple[str, ...]], float],
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
) -> float:
    pairs = zip(captions, references, strict=True)
    return 100 * float(np.mean([score(text, tuple(texts)) for text, texts in pairs]))


# Systems often write the same caption of a clip, so scores are cached.


@lru_cache(_CACHED_TEXTS)
def _rouge_l(caption: str, references: tuple[str, ...]) -> float:
    return float(_rouge().score_multi(references, caption)["rougeL"].fmeasure)


@lru_cache(_CACHED_TEXTS)
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
    """Cached Porter stems, with the interface of an NLTK stemmer."""

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
    """Replaces WordNet, which the package neither contains nor downloads."""

    def synsets(self, word: str) -> list[object]:
        return []
