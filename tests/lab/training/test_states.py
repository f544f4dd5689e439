"""States of random audio embeddings: the projection, the profile, and the unit ball."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.vocabulary import BOS, Vocabulary
from ugsd_lab.models.networks import (
    ATTRIBUTE_DIM,
    AUDIO_DIM,
    STATE_DIM,
    DrafterDecoder,
    emotion_logits,
)
from ugsd_lab.training import train as training
from ugsd_lab.training.train import Corpus, Projection

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
    assert projection.matrix.shape == (EMBEDDING_DIM, AUDIO_DIM)
    projected = shifted[rows, 0] @ projection.matrix - projection.mean
    np.testing.assert_allclose(projected.mean(0), 0, atol=1e-3)
    for speaker in set(speakers[rows]):
        projected[speakers[rows] == speaker] -= projected[speakers[rows] == speaker].mean(0)
    np.testing.assert_allclose(np.diag(np.cov(projected.T, bias=True)), 1, atol=2e-3)


EMOTIONAL, WORDS = slice(0, 6), slice(6, 26)
"""Numbers of planted embeddings that depend on emotions and on words; the rest depend on
neither."""
PLANTED = 6 + 20 + 14


@pytest.fixture(scope="module")
def planted(corpus: Corpus) -> tuple[Corpus, NDArray[np.float32]]:
    """Clips of ten speakers, two of them not for training, and their parts, which differ by their
    words alone. Emotions vary as much as the words of a clip do, and voices ten times as much."""
    rng = np.random.default_rng(4)
    moves = rng.normal(size=(len(EMOTIONS), 6))
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
    first = np.square(projection.matrix[:, :6])
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
    drafter: DrafterDecoder, embedding: torch.Tensor, profile: torch.Tensor, trust: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return condition and audio part."""
    with torch.inference_mode():
        return drafter.read(embedding, profile, torch.full((len(embedding),), trust))


def test_state_has_audio_and_attribute_parts(corpus: Corpus, drafter: DrafterDecoder) -> None:
    embedding, profile = torch.from_numpy(corpus.clean_embeddings[:12].reshape(2, 6, -1))
    tokens = torch.tensor([[BOS, 7, 9, 11]]).expand(6, -1)
    with torch.inference_mode():
        _, states = drafter(tokens, embedding, profile, torch.linspace(0, 1, 6))
    assert states.shape == (6, 4, STATE_DIM)
    audio, attributes = states.split([AUDIO_DIM, ATTRIBUTE_DIM], -1)
    torch.testing.assert_close(audio, audio[:, :1].expand_as(audio))
    assert not torch.equal(attributes[:, 0], attributes[:, 1])
    assert float(states.norm(dim=-1).max()) <= 1 + 1e-6
    scores = emotion_logits(states, len(EMOTIONS))
    assert scores.shape == (6, 4, len(EMOTIONS))
    torch.testing.assert_close(
        scores.argmax(-1), attributes[..., : len(EMOTIONS)].argmax(-1), rtol=0, atol=0
    )


@given(seed=st.integers(0, 2**31), size=st.integers(-6, 6), trust=st.floats(0, 1))
def test_every_state_is_within_the_unit_ball(
    drafter: DrafterDecoder, seed: int, size: int, trust: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embedding, profile = 10.0**size * torch.randn(2, 3, EMBEDDING_DIM, generator=generator)
    tokens = torch.randint(4, 20, (3, 6), generator=generator)
    with torch.inference_mode():
        _, states = drafter(tokens, embedding, profile, torch.full((3,), trust))
    assert states.isfinite().all()
    assert float(states.norm(dim=-1).max()) <= 1 + 1e-5


def whole_numbers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return whole numbers, whose sums and differences are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-999, 999, shape, generator=generator).float()


@given(seed=st.integers(0, 2**31))
def test_profile_is_removed_from_the_audio_part(vocabulary: Vocabulary, seed: int) -> None:
    drafter = DrafterDecoder(EMBEDDING_DIM, len(vocabulary), width=16, layers=1, heads=2).eval()
    drafter.get_buffer("projection").normal_()
    drafter.get_buffer("population").copy_(whole_numbers((EMBEDDING_DIM,), seed))
    embedding, profile = whole_numbers((2, 3, EMBEDDING_DIM), seed + 1)
    voice = whole_numbers((EMBEDDING_DIM,), seed + 2)
    condition, audio = read(drafter, embedding, profile, 1)
    moved_condition, moved = read(drafter, embedding + voice, profile + voice, 1)
    assert torch.equal(audio, moved)
    assert not torch.equal(condition, moved_condition), "the device itself still uses the voice"
    _, half = read(drafter, embedding + voice, profile + voice, 0.5)
    assert not torch.allclose(half, read(drafter, embedding, profile, 0.5)[1])


def test_untrusted_profile_has_no_effect(corpus: Corpus, drafter: DrafterDecoder) -> None:
    embedding, profile = torch.from_numpy(corpus.clean_embeddings[:12].reshape(2, 6, -1))
    for one, other in zip(
        read(drafter, embedding, profile, 0), read(drafter, embedding, 9 * profile, 0), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_missing_profile_equals_the_average_profile(
    corpus: Corpus, drafter: DrafterDecoder
) -> None:
    embedding = torch.from_numpy(corpus.clean_embeddings[:6])
    average = drafter.get_buffer("population").expand_as(embedding)
    unknown, known = (read(drafter, embedding, average, trust) for trust in (0, 1))
    for one, other in zip(unknown, known, strict=True):
        torch.testing.assert_close(one, other)


def test_no_predicted_attribute_is_gender(corpus: Corpus, drafter: DrafterDecoder) -> None:
    """Gender is neither a target nor in the attribute layer: it has its own head."""
    labels = training._Labels.of(corpus)
    assert len(EMOTIONS) + labels.levels.shape[2] == ATTRIBUTE_DIM
    embedding, profile = torch.from_numpy(corpus.clean_embeddings[:12].reshape(2, 6, -1))
    drafter.zero_grad()
    condition, _ = drafter.read(embedding, profile, torch.ones(6))
    training._gender_loss(drafter.femininity(condition), labels.female[:6]).backward()  # type: ignore[no-untyped-call]
    assert drafter.sounds_female.weight.grad is not None
    assert drafter.believes.weight.grad is None
    drafter.zero_grad()
    tokens = torch.tensor([[BOS, 7]]).expand(6, -1)
    drafter(tokens, embedding, profile, torch.ones(6))[1].sum().backward()
    assert drafter.sounds_female.weight.grad is None
    assert drafter.believes.weight.grad is not None
    drafter.zero_grad()
