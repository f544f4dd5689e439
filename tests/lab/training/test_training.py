"""Training on a little random evidence: what it must keep, whatever the data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.data.augment import drawn_speed
from ugsd_lab.data.captions import attributes_named, caption, references
from ugsd_lab.data.corpora import EMOTIONS, Clip, load_corpora
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.audio_encoder import AudioEncoder
from ugsd_lab.models.embeddings import copy_key, copy_rng
from ugsd_lab.models.networks import (
    ATTRIBUTE_DIM,
    AUDIO_DIM,
    MAX_TOKENS,
    STATE_DIM,
    DrafterDecoder,
    VerifierModel,
    emotion_logits,
)
from ugsd_lab.training import train as training
from ugsd_lab.training.profiles import ProfileSampler
from ugsd_lab.training.train import Corpus, Drafts, Projection

EMBEDDING_DIM = AUDIO_DIM + 16


def some_clips() -> list[Clip]:
    """EMO-DB, with a third of it as if from another corpus of speakers of the same names."""
    clips = load_corpora(None)
    return [replace(clip, corpus="ravdess") if i % 3 == 0 else clip for i, clip in enumerate(clips)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    clips = some_clips()
    rng = np.random.default_rng(0)
    measures = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    embeddings = rng.normal(size=(len(clips), 3, EMBEDDING_DIM)).astype(np.float32)
    return Corpus(clips, embeddings, measures, Norms.fit(clips, measures))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small products: more threads are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def vocabulary(corpus: Corpus) -> Vocabulary:
    return Vocabulary.train(
        text
        for row, clip in enumerate(corpus.clips)
        for text in references(clip, corpus.labels(row).levels, gender=False)
    )


@pytest.fixture(scope="module")
def drafter(vocabulary: Vocabulary) -> DrafterDecoder:
    torch.manual_seed(0)
    drafter = DrafterDecoder(EMBEDDING_DIM, len(vocabulary), width=16, layers=1, heads=2)
    for name in ("population", "projection", "projected_mean"):
        drafter.get_buffer(name).normal_()
    return drafter.eval()


@pytest.fixture(autouse=True)
def small_models_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training, "BATCH", 8)
    small = partial(VerifierModel, width=32, layers=1, heads=2)
    monkeypatch.setattr(training, "VerifierModel", small)


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


class _Killed(Exception):
    pass


def kill_at_four(stage: str, done: int, of: int, note: str) -> None:
    if done == 4:
        raise _Killed


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def parts_of(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings of four parts of each clip."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(len(embedding), 4, embedding.shape[1]))
    return (embedding[:, None] + noise).astype(np.float32)


def fitted(corpus: Corpus, corpora: Sequence[str]) -> Projection:
    rows = corpus.rows(corpora, "train")
    return Projection.fit(corpus, rows, parts_of(corpus.clean_embeddings[rows]))


def train_drafter(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    checkpoint: Path,
    progress: training.Progress = quiet,
) -> DrafterDecoder:
    return training.train_drafter(
        corpus, corpora, vocabulary, fitted(corpus, corpora), name="tiny",
        steps=5, seed=3, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip


def test_resumed_drafter_reaches_the_same_weights(
    corpus: Corpus, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    def train(checkpoint: Path, progress: training.Progress) -> DrafterDecoder:
        return train_drafter(corpus, ["emodb"], vocabulary, checkpoint, progress)

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, train(tmp_path / "killed.pt", quiet))


def test_resumed_verifier_reaches_the_same_weights(
    corpus: Corpus, vocabulary: Vocabulary, drafter: DrafterDecoder, tmp_path: Path
) -> None:
    both = ["emodb", "ravdess"]
    drafts = captions_as_drafts(corpus)

    def train(checkpoint: Path, progress: training.Progress) -> VerifierModel:
        return training.train_verifier(
            corpus, both, vocabulary, [(drafter, drafts), (drafter, drafts)],
            steps=5, seed=3, checkpoint=checkpoint, progress=progress,
        )  # fmt: skip

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, train(tmp_path / "killed.pt", quiet))


def captions_as_drafts(corpus: Corpus) -> Drafts:
    """Return drafts that are captions of the wrong clips."""
    rng = random.Random(0)
    rows, copies = corpus.embeddings.shape[:2]
    return {
        copy_key(clip, copy): caption(corpus.labels(rng.randrange(rows)), rng, gender=False)
        for clip in corpus.clips
        for copy in range(copies)
    }


def test_drafter_depends_on_its_training_speakers_alone(
    corpus: Corpus, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    """Changing clips that the drafter may not know does not change it."""
    excluded = [clip.split != "train" or clip.corpus != "emodb" for clip in corpus.clips]
    changed = corpus.embeddings.copy()
    changed[excluded] += 5
    other = replace(corpus, embeddings=changed)
    drafters = [
        train_drafter(which, ["emodb"], vocabulary, tmp_path / f"{i}.pt")
        for i, which in enumerate((corpus, other))
    ]
    assert_same_weights(*drafters)


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


def test_faster_copy_has_labels_of_higher_pitch(corpus: Corpus) -> None:
    train = [i for i, clip in enumerate(corpus.clips) if clip.split == "train"]
    speeds = {(i, n): drawn_speed(copy_rng(corpus.clips[i], n)) for i in train for n in (1, 2)}
    row, copy = max(speeds, key=lambda at: speeds[at])
    measures = corpus.measures[corpus.clips[row].id].faster(speeds[row, copy])
    assert corpus.labels(row, copy).levels == corpus.norms.levels(corpus.clips[row], measures)
    changed = [corpus.labels(i).levels.pitch != corpus.labels(i, n).levels.pitch for i, n in speeds]
    assert any(changed)
    for at, moved in zip(speeds, changed, strict=True):
        assert not (moved and speeds[at] == 1)
    for held_out in set(range(len(corpus.clips))) - set(train):
        assert corpus.labels(held_out, 1) == corpus.labels(held_out)


def test_targets_agree_with_the_attribute_labels(corpus: Corpus) -> None:
    targets = training._Labels.of(corpus)
    for row in range(0, len(corpus.clips), 7):
        for copy in range(3):
            labels = corpus.labels(row, copy)
            assert EMOTIONS[targets.emotion[row]] == labels.emotion
            levels = [("low", "mid", "high")[i] for i in targets.levels[row, copy].tolist()]
            assert levels == list(vars(labels.levels).values())
            assert targets.female[row] == (labels.gender == "female")


def examples(
    corpus: Corpus, vocabulary: Vocabulary, drafts: Sequence[Drafts], batches: int = 12
) -> list[tuple[int, int, list[int], list[int]]]:
    """Return (row, copy, input tokens, targets) of some batches."""
    sampler = training._Sampler(corpus, ["emodb", "ravdess"], vocabulary, 0, drafts)
    out = []
    for step in range(batches):
        batch, which = sampler.batch(step, 16)
        assert which.max(initial=0) < max(1, len(drafts))
        for row in range(16):
            out.append(
                (int(batch.rows[row]), int(batch.copies[row]),
                 batch.inputs[row].tolist(), batch.targets[row].tolist())
            )  # fmt: skip
    return out


def test_batch_is_reproducible_and_balances_corpora(corpus: Corpus, vocabulary: Vocabulary) -> None:
    fewer = [c for c in range(len(corpus.clips)) if corpus.clips[c].corpus == "emodb" or c % 9 == 0]
    uneven = Corpus(
        [corpus.clips[i] for i in fewer], corpus.embeddings[fewer], corpus.measures, corpus.norms
    )
    sampler = training._Sampler(uneven, ["emodb", "ravdess"], vocabulary, 0)
    first, again = sampler.batch(3, 400)[0], sampler.batch(3, 400)[0]
    assert torch.equal(first.inputs, again.inputs)
    assert not np.array_equal(first.rows, sampler.batch(4, 400)[0].rows)
    drawn = [uneven.clips[row] for row in first.rows]
    assert {clip.split for clip in drawn} == {"train"}
    share = np.mean([clip.corpus == "emodb" for clip in drawn])
    assert share == pytest.approx(0.5, abs=0.07)


def test_drafter_learns_captions_of_the_clips_labels(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    for row, copy, inputs, targets in examples(corpus, vocabulary, []):
        length = targets.index(EOS)
        assert inputs[0] == BOS
        assert inputs[1 : length + 1] == targets[:length]
        assert set(targets[length + 1 :]) | set(inputs[length + 1 :]) <= {PAD}
        text = vocabulary.decode(targets)
        labels = corpus.labels(row, copy)
        assert attributes_named(text, "pitch") == {labels.levels.pitch}
        assert attributes_named(text, "emotion") == {labels.emotion}
        assert not attributes_named(text, "gender")


def test_verifier_learns_only_true_continuations_of_drafts(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    drafts = [captions_as_drafts(corpus)]
    cut = kept = 0
    for row, copy, inputs, targets in examples(corpus, vocabulary, drafts):
        length = inputs.index(PAD) - 1 if PAD in inputs else len(inputs) - 1
        given = next(i for i, target in enumerate(targets) if target != PAD)
        assert targets[given:length] == inputs[given + 1 : length + 1]
        assert targets[length] == EOS
        draft = drafts[0][copy_key(corpus.clips[row], copy)]
        labels = corpus.labels(row, copy)
        assert draft.startswith(vocabulary.decode(inputs[1 : given + 1]))
        learnt = vocabulary.decode(targets)
        for attribute in ("emotion", "pitch", "loudness", "pace", "quality"):
            assert attributes_named(learnt, attribute) <= {labels.value(attribute)}
        cut += given > 0
        kept += learnt.split()[-1:] == draft.split()[-1:]
    assert 0.05 < cut / (12 * 16) < 0.25
    assert kept / (12 * 16) > 0.2


def test_draft_without_end_becomes_a_bounded_caption(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    endless = {
        copy_key(clip, n): "A speaker sounds sad, " * 16 for clip in corpus.clips for n in range(3)
    }
    for *_, inputs, targets in examples(corpus, vocabulary, [endless]):
        assert len(inputs) <= MAX_TOKENS + 1
        assert EOS in targets


def no_profiles(
    speakers: ProfileSampler, rows: NDArray[np.int64], *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(rows), EMBEDDING_DIM), torch.zeros(len(rows))


def test_drafts_cover_training_clips_and_are_cached(
    corpus: Corpus,
    vocabulary: Vocabulary,
    drafter: DrafterDecoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drafts(seed: int, cache: str) -> Drafts:
        return training.draft_all(
            drafter, corpus, ["emodb"], vocabulary, seed=seed, cache=tmp_path / cache,
            progress=quiet,
        )  # fmt: skip

    monkeypatch.setattr(training, "_drawn_profiles", no_profiles)
    first = drafts(0, "first.json")
    clips = [corpus.clips[row] for row in corpus.rows(["emodb"], "train")]
    assert set(first) == {copy_key(clip, copy) for clip in clips for copy in range(3)}
    assert drafts(0, "again.json") == first
    assert drafts(1, "first.json") == first, "cached drafts are not drafted again"
    sampled = drafts(1, "other.json")
    for clip in clips:
        assert first[copy_key(clip, 0)] == sampled[copy_key(clip, 0)]  # greedy
        assert first[copy_key(clip, 1)] != sampled[copy_key(clip, 1)]


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


def test_unlabelled_gender_is_not_learnt() -> None:
    odds = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    nothing = torch.full((3,), float("nan"))
    assert training._gender_loss(odds, nothing).item() == 0
    some = torch.tensor([1.0, float("nan"), 0.0])
    loss = training._gender_loss(odds, some)
    torch.testing.assert_close(loss, training._gender_loss(odds[[0, 2]], some[[0, 2]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert odds.grad is not None
    assert odds.grad[1] == 0


def test_profiles_depend_on_seed_and_step_alone(corpus: Corpus) -> None:
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)
    rows = corpus.rows(["emodb"], "train")
    first, again, other = (training._drawn_profiles(speakers, rows, 3, step) for step in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0], other[0])
    known = training._drawn_profiles(speakers, rows, 3, 5, unenrolled_share=0)[1]
    assert bool((known > 0).all())


def test_weights_other_than_whispers_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read"):
        AudioEncoder.from_whisper(weights)
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(TrainingError, match="lacks"):
        AudioEncoder.from_whisper(weights)
    save_file({name: torch.zeros(1) for name in AudioEncoder().state_dict()}, weights)
    with pytest.raises(TrainingError, match="does not hold the encoder"):
        AudioEncoder.from_whisper(weights)
