"""Metrics: cases computed by hand, and invariants."""

from __future__ import annotations

import socket
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.captions import LEVEL_VALUES, references
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.data.lexicon import attributes_named
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.evaluation.metrics import (
    ATTRIBUTES,
    attribute_right,
    auroc,
    bleu,
    bleu_of,
    bleu_statistics,
    chrf,
    confusion,
    emotion_right,
    meteor,
    rouge_l,
    signatures,
)

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)
WORDS = st.lists(
    st.sampled_from(["a", "man", "woman", "speaks", "softly", "sad"]), min_size=1, max_size=9
)


def test_bleu_equals_sacrebleu_over_all_references() -> None:
    import sacrebleu

    captions = ["a man speaks low", "she sounds very sad today"]
    texts = [["a man speaks up", "the man speaks low"], ["she sounds sad", "she is very sad today"]]
    streams = [list(stream) for stream in zip(*texts, strict=True)]
    expected = sacrebleu.BLEU().corpus_score(captions, streams).score
    assert bleu(captions, texts) == pytest.approx(expected)
    assert bleu(["a b c d e"], [["a b c d e", "x"]]) == pytest.approx(100)
    assert bleu(["a b c d e"], [["v w x y z"]]) < 5


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=2, max_size=6), st.integers(1, 5))
def test_bleu_statistics_of_parts_add_up(
    clips: list[tuple[list[str], list[str], list[str]]], cut: int
) -> None:
    captions = [" ".join(caption) for caption, _, _ in clips]
    texts = [[" ".join(first), " ".join(second)] for _, first, second in clips]
    cut = min(cut, len(clips) - 1)
    parts = [
        bleu_statistics(captions[:cut], texts[:cut]),
        bleu_statistics(captions[cut:], texts[cut:]),
    ]
    assert bleu_of(parts[0] + parts[1]) == pytest.approx(bleu(captions, texts))


def test_chrf_counts_characters() -> None:
    assert chrf(["abcdef"], [["abcdef", "z"]]) == pytest.approx(100)
    assert 0 < chrf(["sadly"], [["sad"]]) < chrf(["sads"], [["sad"]]) < 100


def test_rouge_l_uses_the_best_reference() -> None:
    # Common subsequence "a man speaks": 3 of 4 words each way, F1 = .75; the other shares nothing.
    score = rouge_l(["A man speaks softly."], [["a man who speaks", "nothing of it"]])
    assert score == pytest.approx(75)
    assert rouge_l(["a b", "c d"], [["a b"], ["x y"]]) == pytest.approx(50)


def test_rouge_l_does_not_stem() -> None:
    assert rouge_l(["cats"], [["cat"]]) == 0


def test_meteor_matches_words_and_stems_but_no_synonyms() -> None:
    # One word of one, in one chunk: F = 1, penalty .5 * (1/1)^3.
    assert meteor(["speaks"], [["speaks"]]) == pytest.approx(50)
    assert meteor(["speaks"], [["speaking"]]) == pytest.approx(50)
    assert meteor(["talks"], [["speaks"]]) == 0
    # Four words in one chunk: penalty .5 * (1/4)^3.
    assert meteor(["A man speaks sadly."], [["x", "a man speaks sadly"]]) == pytest.approx(
        100 * (1 - 0.5 / 64)
    )
    # P = 2/3, R = 2/2, F = PR / (.9 P + .1 R) = .952381; 2 chunks of 2 matches: penalty .5.
    assert meteor(["a sad man"], [["man a"]]) == pytest.approx(100 * 0.5 * (2 / 3) / 0.7)


def test_empty_caption_scores_zero() -> None:
    assert meteor([""], [["a man"]]) == 0
    assert rouge_l([""], [["a man"]]) == 0


def test_metrics_do_not_use_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert meteor(["a wholly new caption"], [["another wholly new caption"]]) > 0
    assert rouge_l(["a wholly new caption"], [["another wholly new caption"]]) > 0


def test_signatures_name_versions_and_omissions() -> None:
    found = signatures(5)
    assert set(found) == {"BLEU", "chrF", "ROUGE-L", "METEOR"}
    assert "nrefs:5" in found["BLEU"]
    assert "nrefs:5" in found["chrF"]
    assert "exact and stem matches" in found["METEOR"]


def test_two_emotions_are_wrong() -> None:
    assert emotion_right("A man sounds sad.", "sad")
    assert not emotion_right("A man sounds sad and furious.", "sad")
    assert not emotion_right("A man speaks.", "sad")


def test_unnamed_level_is_ordinary_and_contradiction_is_wrong() -> None:
    assert attribute_right("A woman sounds calm.", "pace", "moderate")
    assert attribute_right("A woman sounds calm.", "pitch", "medium")
    assert not attribute_right("A woman sounds calm.", "pace", "fast")
    assert attribute_right("A woman speaks quickly.", "pace", "fast")
    assert not attribute_right("A woman speaks quickly and slowly.", "pace", "fast")
    assert not attribute_right("A voice.", "gender", "female")


def test_references_name_no_wrong_value() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "test"][::8]
    values = np.random.default_rng(0).normal(size=(len(clips), len(fields(Measures))))
    measures = {c.id: Measures(*map(float, row)) for c, row in zip(clips, values, strict=True)}
    norms = Norms.fit([replace(clip, split="train") for clip in clips], measures)
    for clip in clips:
        levels = norms.levels(clip, measures[clip.id])
        for text in references(clip, levels):
            for attribute in ATTRIBUTES:
                if attribute in LEVEL_VALUES:
                    right = LEVEL_VALUES[attribute][getattr(levels, attribute)]
                    assert attributes_named(text, attribute) <= {right}, (text, attribute)
                else:
                    assert attributes_named(text, attribute) <= {getattr(clip, attribute)}, text
            assert emotion_right(text, clip.emotion or "")


def test_confusion_counts_named_emotions() -> None:
    found = confusion(
        ["sounds sad", "sounds angry", "sounds sad and angry", "speaks", "sounds bored"],
        ["sad", "sad", "angry", "angry", "angry"],
    )
    assert found.labels == ("angry", "sad")
    assert found.named == ("angry", "sad", "other", "several", "none")
    assert found.counts.tolist() == [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]


def test_auroc_equals_values_computed_by_hand() -> None:
    assert auroc([1, 2], [3, 4]) == 1
    assert auroc([3, 4], [1, 2]) == 0
    assert auroc([1, 3], [2, 4]) == pytest.approx(3 / 4)
    assert auroc([1, 1], [1]) == 0.5
    assert np.isnan(auroc([], [1]))
    assert np.isnan(auroc([1], []))


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_ordered_pairs(low: list[float], high: list[float]) -> None:
    pairs = [(b > a) + (b == a) / 2 for a in low for b in high]
    assert auroc(low, high) == pytest.approx(np.mean(pairs))
    assert auroc(low, high) + auroc(high, low) == pytest.approx(1)
