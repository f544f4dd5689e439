"""A linear read-out reads what is there, and profiles take the voice away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ugsd_lab.data.corpora import EMOTIONS, load_corpora
from ugsd_lab.evaluation.read_out import own_embeddings, read_emotions

CLIPS = load_corpora(None)[:200]
RNG = np.random.default_rng(0)
ONE_HOT = np.stack([np.eye(len(EMOTIONS))[EMOTIONS.index(c.emotion or "")] for c in CLIPS])


def test_separable_emotions_are_read() -> None:
    inputs = (ONE_HOT + 0.1 * RNG.standard_normal(ONE_HOT.shape)).astype(np.float32)
    named = read_emotions(CLIPS[:100], inputs[:100], inputs[100:])
    assert np.mean([n == c.emotion for n, c in zip(named, CLIPS[100:], strict=True)]) > 0.95


def test_shuffled_inputs_say_nothing() -> None:
    inputs = RNG.permutation(ONE_HOT).astype(np.float32)
    named = read_emotions(CLIPS[:100], inputs[:100], inputs[100:])
    assert np.mean([n == c.emotion for n, c in zip(named, CLIPS[100:], strict=True)]) < 0.5


def test_small_corpus_counts_as_much() -> None:
    """The same input is called happy by most clips and sad by all of a small corpus."""
    happy = replace(CLIPS[0], emotion="happy")
    sad = replace(CLIPS[0], emotion="sad", corpus="nemo")
    angry = replace(CLIPS[0], emotion="angry")
    train = [happy] * 50 + [angry] * 50 + [sad] * 4
    inputs = np.array([[1.0, 0]] * 50 + [[0, 1.0]] * 50 + [[1.0, 0]] * 4, dtype=np.float32)
    assert read_emotions(train, inputs, inputs[:1]) == ["sad"]


def test_profile_removes_what_a_speaker_always_has() -> None:
    voices = {clip.speaker: 10 * RNG.standard_normal(4) for clip in CLIPS}
    embeddings = np.stack([voices[clip.speaker] for clip in CLIPS]).astype(np.float32)
    own = own_embeddings(CLIPS, embeddings, embeddings.mean(0))

    assert own.shape == embeddings.shape
    spread, left = embeddings.std(0).mean(), np.median(np.abs(own - embeddings.mean(0)))
    assert left < 0.2 * spread
