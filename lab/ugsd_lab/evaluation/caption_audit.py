"""Audits the generated captions: they must be true, disclose nothing forbidden, and vary."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console
from ugsd_sdk.drafter.bundle import VOCABULARY_FILE

from ugsd_lab.data.captions import (
    MAX_WORDS,
    MIN_WORDS,
    AttributeLabels,
    caption,
    references,
)
from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.lexicon import ATTRIBUTE_WORDS, LEXICON, attributes_named
from ugsd_lab.data.prosody import Levels, Measures, Norms
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable, print_tables

__all__ = [
    "FAULTS",
    "CaptionAudit",
    "Fault",
    "Variety",
    "as_json",
    "audit",
    "expressible_words",
    "print_audit",
    "verdict",
]

FAULTS = {
    "contradiction": "do not agree with their clip's labels and levels",
    "gender": "mention gender although it is switched off",
    "length": f"have fewer than {MIN_WORDS} or more than {MAX_WORDS} words",
    "utterance": "contain a word of the utterance that is not a word of the grammar",
}
"""The faults of captions, by name."""
_ALWAYS_NAMED = ("emotion",)
_QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
_OPENING_WORDS, _OPENINGS, _EXAMPLES, _SHOWN_WORDS = 3, 5, 3, 8


@dataclass(frozen=True)
class Fault:
    """A faulty caption."""

    clip: str
    text: str
    what: str
    """The wrong value, such as ``loudness: high``, or the forbidden words."""


@dataclass(frozen=True)
class Variety:
    """How varied the captions are."""

    captions: int
    words: int
    """Number of different words, ignoring case."""
    words_per_caption: Mapping[str, float]
    """Quantile -> number of words."""
    repeated_within: float
    """Share of captions that repeat another caption of the same clip."""
    repeated_across: float
    """Share of captions that another clip has too."""
    distinct: Mapping[int, float]
    """n -> different n-grams as a share of all (distinct-n, Li et al. 2016). It falls as clips are
    added."""
    openings: Mapping[str, float]
    """The most frequent first three words -> share of captions that begin with them."""
    not_in_vocabulary: Mapping[str, int]
    """Words that are not in the models' vocabulary -> their count in neutral captions."""


@dataclass(frozen=True)
class CaptionAudit:
    """The results for the references of all clips."""

    clips: int
    unlabelled: int
    """Number of clips that were skipped because they have no emotion label."""
    variety: Variety
    faults: Mapping[str, Sequence[Fault]]
    """By the names of :data:`FAULTS`."""


def audit(
    clips: Sequence[Clip],
    measures: Mapping[str, Measures],
    norms: Norms,
    vocabulary: Iterable[str],
    progress: Progress,
    *,
    seed: int = 0,
) -> CaptionAudit:
    """Audit the references of every clip that has an emotion label, with and without gender.
    ``vocabulary`` has the words of the models."""
    labelled = [clip for clip in clips if clip.emotion is not None]
    grammar = _grammar_words()
    texts: list[list[str]] = []
    neutral: list[str] = []
    faults: dict[str, list[Fault]] = {name: [] for name in FAULTS}
    for done, clip in enumerate(labelled, 1):
        levels = norms.levels(clip, measures[clip.id])
        labels = AttributeLabels.of(clip, levels)
        utterance = _lower_words(clip.sentence) - grammar
        with_gender, without = (
            references(clip, levels, seed=seed, gender=gender) for gender in (True, False)
        )
        texts.append(with_gender)
        neutral += without
        for text in with_gender:
            _add(faults, clip, text, _named_wrongly(text, labels))
        for text in without:
            gendered = [f"gender: {value}" for value in attributes_named(text, "gender")]
            _add(faults, clip, text, {"gender": gendered})
        for text in with_gender + without:
            count = len(text.split())
            length = [] if MIN_WORDS <= count <= MAX_WORDS else [f"{count} words"]
            spoken = sorted(_lower_words(text) & utterance)
            _add(faults, clip, text, {"length": length, "utterance": spoken})
        progress("auditing", done, len(labelled), "")
    return CaptionAudit(
        len(labelled), len(clips) - len(labelled), _variety(texts, neutral, vocabulary), faults
    )


def _add(
    faults: dict[str, list[Fault]], clip: Clip, text: str, found: Mapping[str, Sequence[str]]
) -> None:
    for name, what in found.items():
        if what:
            faults[name].append(Fault(clip.id, text, ", ".join(what)))


def _named_wrongly(text: str, labels: AttributeLabels) -> dict[str, list[str]]:
    wrong = []
    for attribute in LEXICON:
        value = labels.value(attribute)
        true = set() if value is None else {value}
        named = attributes_named(text, attribute)
        if named - true or (attribute in _ALWAYS_NAMED and named != true):
            wrong.append(f"{attribute}: {' and '.join(sorted(named)) or 'nothing'}")
    return {"contradiction": wrong}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:[-'][^\W\d_]+)*", text)


def _lower_words(text: str) -> set[str]:
    return {word.lower() for word in _words(text)}


def _grammar_words() -> set[str]:
    """Return the words that captions may contain for any clip: the lexicon and its connecting
    words."""
    rng = random.Random(0)  # noqa: S311  not a secret
    levels = Levels("mid", "mid", "mid", "mid", "mid", "mid")
    every = product(("female", "male", None), EMOTIONS, ("normal", "strong", None), range(50))
    between = (
        caption(AttributeLabels(gender, emotion, intensity, levels), rng)
        for gender, emotion, intensity, _ in every
    )
    phrases = (p for values in ATTRIBUTE_WORDS.values() for ps in values.values() for p in ps)
    return {word for text in (*between, *phrases) for word in _lower_words(text)}


def _variety(
    texts: Sequence[Sequence[str]], neutral: Sequence[str], vocabulary: Iterable[str]
) -> Variety:
    every = [text for of_clip in texts for text in of_clip]
    words = [_words(text) for text in every]
    lengths = [len(text.split()) for text in every]
    clips_with = Counter(text for of_clip in texts for text in set(of_clip))
    openings = Counter(" ".join(row[:_OPENING_WORDS]) for row in words)
    used = Counter(word for text in neutral for word in _words(text))
    for word in vocabulary:
        used.pop(word, None)
    return Variety(
        captions=len(every),
        words=len({word.lower() for row in words for word in row}),
        words_per_caption={k: float(np.quantile(lengths, q)) for k, q in _QUANTILES.items()},
        repeated_within=1 - sum(clips_with.values()) / len(every),
        repeated_across=sum(clips_with[text] > 1 for text in every) / len(every),
        distinct={n: _distinct(words, n) for n in (1, 2, 3)},
        openings={text: n / len(every) for text, n in openings.most_common(_OPENINGS)},
        not_in_vocabulary=dict(used.most_common()),
    )


def _distinct(captions: Sequence[Sequence[str]], n: int) -> float:
    grams = Counter(gram for words in captions for gram in _grams(words, n))
    return len(grams) / grams.total()


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    lower = [word.lower() for word in words]
    return zip(*(lower[start:] for start in range(n)), strict=False)


def expressible_words(drafter: Path) -> set[str]:
    """Return the words of a drafter's vocabulary."""
    pieces = json.loads((drafter / VOCABULARY_FILE).read_text("utf-8"))
    return {piece.strip() for piece in pieces}


def verdict(result: CaptionAudit) -> str | None:
    """Return the faults in one line; ``None`` without any."""
    found = [
        f"captions that {FAULTS[name]}: {len(faults):,}"
        for name, faults in result.faults.items()
        if faults
    ]
    return "; ".join(found) or None


def as_json(result: CaptionAudit) -> dict[str, object]:
    """Return counts and shares as plain data, with some examples of each fault."""
    faults = {
        name: {"count": len(found), "examples": [asdict(fault) for fault in found[:_EXAMPLES]]}
        for name, found in result.faults.items()
    }
    return asdict(result) | {"faults": faults}


def print_audit(result: CaptionAudit, console: Console) -> None:
    """Print a table and some examples of each fault."""
    variety = result.variety
    lengths = " / ".join(f"{words:.0f}" for words in variety.words_per_caption.values())
    missing = list(variety.not_in_vocabulary)
    shown = ", ".join(missing[:_SHOWN_WORDS]) + (", ..." if missing[_SHOWN_WORDS:] else "")
    rows = [
        ("clips", f"{result.clips:,}", f"{result.unlabelled:,} more have no emotion label"),
        ("captions", f"{variety.captions:,}", "generated; as many again without gender"),
        ("different words", f"{variety.words:,}", ""),
        ("words per caption", lengths, " / ".join(variety.words_per_caption)),
        ("repeated within a clip", f"{variety.repeated_within:.1%}", "of the captions"),
        ("repeated across clips", f"{variety.repeated_across:.1%}", "of the captions"),
        *(
            (f"distinct-{n}", f"{share:.4f}", f"different {n}-grams, share of all")
            for n, share in variety.distinct.items()
        ),
        *(("begin with", f"{share:.1%}", opening) for opening, share in variety.openings.items()),
        ("not in the vocabulary", f"{len(missing):,} words", shown),
    ]
    faults = [
        (f"fault: {name}", f"{len(found):,}, must be 0", f"they {FAULTS[name]}")
        for name, found in result.faults.items()
    ]
    table = TextTable(("what", "value", ""), [*rows, *faults], section_rows=len(rows))
    print_tables([table], console)
    for found in result.faults.values():
        for fault in found[:_EXAMPLES]:
            console.print(f"{fault.clip}: {fault.what}: {fault.text}", highlight=False)
