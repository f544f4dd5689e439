"""States of random audio embeddings: the projection, the profile, and the unit ball."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.models.networks import STATE_DIM, EmotionReader, Reading
from ugsd_lab.training import emotion_reader
from ugsd_lab.training.corpus import Corpus, Projection

from tests.lab.training.small_corpus import EMBEDDING_DIM, fitted


def test_projection_has_unit_variance_within_speakers(corpus: Corpus) -> None:
    """Speakers with the same name in two corpora are different speakers."""
    shifted = corpus.embeddings.copy()
    rng = np.random.default_rng(1)
    speakers = np.array([f"{clip.corpus}/{clip.speaker}" for clip in corpus.clips])
    for speaker in sorted(set(speakers)):
        shifted[speakers == speaker] += 30 * rng.normal(size=EMBEDDING_DIM).astype(np.float32)
    both = ["emodb", "ravdess"]
    projection = fitted(replace(corpus, embeddings=shifted), both)
    rows = corpus.rows(both, "train")
    np.testing.assert_allclose(projection.population, shifted[rows, 0].mean(0), rtol=1e-4)
    assert projection.matrix.shape == (EMBEDDING_DIM, STATE_DIM)
    projected = shifted[rows, 0] @ projection.matrix - projection.mean
    np.testing.assert_allclose(projected.mean(0), 0, atol=1e-3)
    for speaker in set(speakers[rows]):
        projected[speakers[rows] == speaker] -= projected[speakers[rows] == speaker].mean(0)
    np.testing.assert_allclose(np.diag(np.cov(projected.T, bias=True)), 1, atol=2e-3)


EMOTIONAL, WORDS = slice(0, 4), slice(4, 24)
"""Numbers of planted embeddings that depend on emotions and on words; the rest depend on
neither."""
PLANTED = 4 + 20 + 14


@pytest.fixture(scope="module")
def planted(corpus: Corpus) -> tuple[Corpus, NDArray[np.float32]]:
    """Clips of ten speakers, two of them not for training, and their parts, which differ by their
    words alone. Emotions vary as much as the words of a clip do, and voices ten times as much."""
    rng = np.random.default_rng(4)
    moves = rng.normal(size=(len(EMOTIONS), 4))
    moves = 3 * np.linalg.qr(moves - moves.mean(0))[0]
    voices = rng.normal(size=(10, PLANTED))
    voices *= 10 / voices[:8].std(0)
    at = [(speaker, number) for speaker in range(10) for number in range(180)]
    clips = [
        replace(
            corpus.clips[0], corpus="emodb", speaker=str(speaker), name=f"{speaker}-{number}",
            emotion=EMOTIONS[number % len(EMOTIONS)], split="test" if speaker > 7 else "train",
        )
        for speaker, number in at
    ]  # fmt: skip
    embeddings = rng.normal(size=(len(at), PLANTED))
    embeddings[:, EMOTIONAL] = (
        0.3 * embeddings[:, EMOTIONAL] + moves[[number % len(EMOTIONS) for _, number in at]]
    )
    embeddings += voices[[speaker for speaker, _ in at]]
    parts = np.repeat(embeddings[:, None], 4, axis=1)
    parts[..., WORDS] += 2 * rng.normal(size=(len(embeddings), 4, 20))
    known = Corpus(clips, embeddings[:, None].astype(np.float32), {}, corpus.norms)
    return known, parts.astype(np.float32)


def test_projection_keeps_emotions_and_drops_words(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    projection = Projection.fit(known, rows, parts[rows])
    first = np.square(projection.matrix[:, :4])
    assert first[EMOTIONAL].sum() > 0.95 * first.sum(), "the emotions' directions come first"
    gain = np.square(projection.matrix).sum(1)
    wordless = Projection.fit(known, rows, np.repeat(parts[rows][:, :1], 4, axis=1))
    assert gain[WORDS].sum() < 0.1 * gain.sum()
    assert gain[WORDS].sum() < 0.2 * np.square(wordless.matrix[WORDS]).sum(), "because of the parts"


def test_emotion_of_new_speaker_is_found_with_profile(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    projection = Projection.fit(known, rows, parts[rows])

    def projected(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        own = known.rows(["emodb"], split)
        speakers = np.array([known.clips[row].speaker for row in own])
        numbers = known.clean_embeddings[own]
        for speaker in set(speakers):
            numbers[speakers == speaker] -= numbers[speakers == speaker].mean(0)
        return numbers @ projection.matrix, np.array(
            [EMOTIONS.index(known.clips[row].emotion or "") for row in own]
        )

    (train, of_train), (test, of_test) = projected("train"), projected("test")
    centres = np.stack([train[of_train == emotion].mean(0) for emotion in range(len(EMOTIONS))])
    nearest = np.square(test[:, None] - centres).sum(2).argmin(1)
    assert np.mean(nearest == of_test) > 0.8


def test_projection_depends_on_its_rows_alone(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    changed = known.embeddings.copy()
    changed[np.setdiff1d(np.arange(len(changed)), rows)] += 5
    first, other = (
        Projection.fit(which, rows, parts[rows])
        for which in (known, replace(known, embeddings=changed))
    )
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(other)[name], err_msg=name)


def read(
    reader: EmotionReader, embedding: torch.Tensor, profile: torch.Tensor, trust: float
) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return tuple(reader(embedding, profile, torch.full((len(embedding),), trust)))


def states_of(reader: EmotionReader, embedding: torch.Tensor, trust: float) -> torch.Tensor:
    """Return the states (N, B) of clips whose profile is their mean."""
    profile = embedding.mean(0).expand_as(embedding)
    with torch.inference_mode():
        return reader.state(embedding, profile, torch.full((len(embedding),), trust))


def test_state_holds_nothing_that_readers_conclude(corpus: Corpus, reader: EmotionReader) -> None:
    embedding = torch.from_numpy(corpus.clean_embeddings[:6])
    profile = embedding.mean(0).expand_as(embedding)
    states = states_of(reader, embedding, 0.5)
    assert states.shape == (6, STATE_DIM)
    other = copy.deepcopy(reader)
    for weights in (*other.readers.parameters(), *other.emotion.parameters()):
        torch.nn.init.normal_(weights)
    found, changed = (Reading(*read(one, embedding, profile, 0.5)) for one in (reader, other))
    torch.testing.assert_close(found.state, states)
    assert torch.equal(changed.state, found.state)
    assert not torch.allclose(changed.emotion, found.emotion)


@given(seed=st.integers(0, 2**31), size=st.integers(-6, 6), trust=st.floats(0, 1))
def test_every_state_is_within_the_unit_ball(
    reader: EmotionReader, seed: int, size: int, trust: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embedding = 10.0**size * torch.randn(3, EMBEDDING_DIM, generator=generator)
    states = states_of(reader, embedding, trust)
    assert states.isfinite().all()
    assert float(states.norm(dim=-1).max()) <= 1 + 1e-5


def whole_numbers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return whole numbers, whose sums and differences are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-999, 999, shape, generator=generator).float()


@given(seed=st.integers(0, 2**31))
def test_profile_is_removed_from_emotion_and_state(seed: int) -> None:
    reader = EmotionReader(EMBEDDING_DIM).eval()
    reader.get_buffer("projection").normal_()
    reader.get_buffer("population").copy_(whole_numbers((EMBEDDING_DIM,), seed))
    embedding, profile = whole_numbers((2, 3, EMBEDDING_DIM), seed + 1)
    voice = whole_numbers((EMBEDDING_DIM,), seed + 2)
    still = Reading(*read(reader, embedding, profile, 1))
    moved = Reading(*read(reader, embedding + voice, profile + voice, 1))
    assert torch.equal(still.state, moved.state)
    assert torch.equal(still.emotion, moved.emotion)
    assert torch.equal(still.strength, moved.strength)
    assert not torch.equal(still.femininity, moved.femininity), "the device still uses the voice"
    half = Reading(*read(reader, embedding + voice, profile + voice, 0.5))
    assert not torch.allclose(half.state, read(reader, embedding, profile, 0.5)[0])


def test_untrusted_profile_has_no_effect(corpus: Corpus, reader: EmotionReader) -> None:
    embedding, profile = torch.from_numpy(corpus.clean_embeddings[:12].reshape(2, 6, -1))
    for one, other in zip(
        read(reader, embedding, profile, 0), read(reader, embedding, 9 * profile, 0), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_missing_profile_equals_the_average_profile(corpus: Corpus, reader: EmotionReader) -> None:
    embedding = torch.from_numpy(corpus.clean_embeddings[:6])
    average = reader.get_buffer("population").expand_as(embedding)
    unknown, known = (read(reader, embedding, average, trust) for trust in (0, 1))
    for one, other in zip(unknown, known, strict=True):
        torch.testing.assert_close(one, other)


def test_state_depends_on_no_gender(corpus: Corpus, reader: EmotionReader) -> None:
    """Gender has its own head, which neither the emotion nor the state reads."""
    labels = emotion_reader._Labels.of(corpus)
    embedding, profile = torch.from_numpy(corpus.clean_embeddings[:12].reshape(2, 6, -1))
    reader.zero_grad()
    reading = reader(embedding, profile, torch.ones(6))
    emotion_reader._log_odds_loss(reading.femininity, labels.female[:6]).backward()  # type: ignore[no-untyped-call]
    assert reader.sounds_female.weight.grad is not None
    assert all(weights.grad is None for weights in reader.emotion.parameters())
    assert all(weights.grad is None for weights in reader.readers.parameters())
    reader.zero_grad()
    reader(embedding, profile, torch.ones(6)).emotion.sum().backward()
    assert reader.sounds_female.weight.grad is None
    assert reader.voice.weight.grad is None
    reader.zero_grad()
