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

EVIDENCE = AUDIO_DIM + 16


def some_clips() -> list[Clip]:
    """EMO-DB, a third of them as if from another corpus of speakers of the same names."""
    clips = load_corpora(None)
    return [replace(clip, corpus="ravdess") if i % 3 == 0 else clip for i, clip in enumerate(clips)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    clips = some_clips()
    rng = np.random.default_rng(0)
    measures = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    heard = rng.normal(size=(len(clips), 3, EVIDENCE)).astype(np.float32)
    return Corpus(clips, heard, measures, Norms.fit(clips, measures))


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
        for text in references(clip, corpus.facts(row).levels, gender=False)
    )


@pytest.fixture(scope="module")
def drafter(vocabulary: Vocabulary) -> DrafterDecoder:
    torch.manual_seed(0)
    drafter = DrafterDecoder(EVIDENCE, len(vocabulary), width=16, layers=1, heads=2)
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
    """Progress that nobody watches."""


class _Killed(Exception):
    pass


def kill_at_four(stage: str, done: int, of: int, note: str) -> None:
    if done == 4:
        raise _Killed


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def parts_of(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evidence of four parts of each clip."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(len(embedding), 4, embedding.shape[1]))
    return (embedding[:, None] + noise).astype(np.float32)


def fitted(corpus: Corpus, corpora: Sequence[str]) -> Projection:
    rows = corpus.rows(corpora, "train")
    return Projection.fit(corpus, rows, parts_of(corpus.evidence[rows]))


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


def test_a_killed_drafter_goes_on_to_the_same_weights(
    corpus: Corpus, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    def train(checkpoint: Path, progress: training.Progress) -> DrafterDecoder:
        return train_drafter(corpus, ["emodb"], vocabulary, checkpoint, progress)

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, train(tmp_path / "killed.pt", quiet))


def test_a_killed_verifier_goes_on_to_the_same_weights(
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
    """Drafts that are captions of the wrong clips."""
    rng = random.Random(0)
    rows, copies = corpus.heard.shape[:2]
    return {
        copy_key(clip, copy): caption(corpus.facts(rng.randrange(rows)), rng, gender=False)
        for clip in corpus.clips
        for copy in range(copies)
    }


def test_a_drafter_depends_on_the_training_speakers_of_its_own_corpora_alone(
    corpus: Corpus, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    """Changing clips that the drafter may not know changes nothing of it."""
    strangers = [clip.split != "train" or clip.corpus != "emodb" for clip in corpus.clips]
    changed = corpus.heard.copy()
    changed[strangers] += 5
    other = replace(corpus, heard=changed)
    drafters = [
        train_drafter(which, ["emodb"], vocabulary, tmp_path / f"{i}.pt")
        for i, which in enumerate((corpus, other))
    ]
    assert_same_weights(*drafters)


def test_what_is_projected_has_unit_variance_within_a_speaker_and_no_mean(corpus: Corpus) -> None:
    """Speakers of one name in two corpora are two."""
    shifted = corpus.heard.copy()
    rng = np.random.default_rng(1)
    speakers = np.array([f"{clip.corpus}/{clip.speaker}" for clip in corpus.clips])
    for speaker in sorted(set(speakers)):
        shifted[speakers == speaker] += 30 * rng.normal(size=EVIDENCE).astype(np.float32)
    both = ["emodb", "ravdess"]
    projection = fitted(replace(corpus, heard=shifted), both)
    rows = corpus.rows(both, "train")
    np.testing.assert_allclose(projection.population, shifted[rows, 0].mean(0), rtol=1e-4)
    assert projection.matrix.shape == (EVIDENCE, AUDIO_DIM)
    told = shifted[rows, 0] @ projection.matrix - projection.mean
    np.testing.assert_allclose(told.mean(0), 0, atol=1e-3)
    for speaker in set(speakers[rows]):
        told[speakers[rows] == speaker] -= told[speakers[rows] == speaker].mean(0)
    np.testing.assert_allclose(np.diag(np.cov(told.T, bias=True)), 1, atol=2e-3)


FELT, WORDS = slice(0, 6), slice(6, 26)
"""Numbers of planted evidence that tell of feelings and of words; those after tell of neither."""
PLANTED = 6 + 20 + 14


@pytest.fixture(scope="module")
def planted(corpus: Corpus) -> tuple[Corpus, NDArray[np.float32]]:
    """Clips of ten speakers, two of them not for training, and their parts, which differ by their
    words alone. A feeling is worth as much as the words of a clip are, and a voice ten times."""
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
    heard = rng.normal(size=(len(at), PLANTED))
    heard[:, FELT] = 0.3 * heard[:, FELT] + moves[[number % len(EMOTIONS) for _, number in at]]
    heard += voices[[speaker for speaker, _ in at]]
    parts = np.repeat(heard[:, None], 4, axis=1)
    parts[..., WORDS] += 2 * rng.normal(size=(len(heard), 4, 20))
    known = Corpus(clips, heard[:, None].astype(np.float32), {}, corpus.norms)
    return known, parts.astype(np.float32)


def test_a_projection_keeps_the_feelings_and_leaves_the_words(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    projection = Projection.fit(known, rows, parts[rows])
    first = np.square(projection.matrix[:, :6])
    assert first[FELT].sum() > 0.95 * first.sum(), "the feelings' directions come first"
    gain = np.square(projection.matrix).sum(1)
    wordless = Projection.fit(known, rows, np.repeat(parts[rows][:, :1], 4, axis=1))
    assert gain[WORDS].sum() < 0.1 * gain.sum()
    assert gain[WORDS].sum() < 0.2 * np.square(wordless.matrix[WORDS]).sum(), "as the parts tell"


def test_a_feeling_of_an_unheard_voice_is_told_once_its_habit_is_known(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    projection = Projection.fit(known, rows, parts[rows])

    def told(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        own = known.rows(["emodb"], split)
        speakers = np.array([known.clips[row].speaker for row in own])
        numbers = known.evidence[own]
        for speaker in set(speakers):
            numbers[speakers == speaker] -= numbers[speakers == speaker].mean(0)
        return numbers @ projection.matrix, np.array(
            [EMOTIONS.index(known.clips[row].emotion or "") for row in own]
        )

    (train, of_train), (test, of_test) = told("train"), told("test")
    centres = np.stack([train[of_train == feeling].mean(0) for feeling in range(len(EMOTIONS))])
    nearest = np.square(test[:, None] - centres).sum(2).argmin(1)
    assert np.mean(nearest == of_test) > 0.8


def test_a_projection_depends_on_the_clips_of_its_rows_alone(
    planted: tuple[Corpus, NDArray[np.float32]],
) -> None:
    known, parts = planted
    rows = known.rows(["emodb"], "train")
    changed = known.heard.copy()
    changed[np.setdiff1d(np.arange(len(changed)), rows)] += 5
    first, other = (
        Projection.fit(which, rows, parts[rows]) for which in (known, replace(known, heard=changed))
    )
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(other)[name], err_msg=name)


def test_a_copy_that_is_faster_is_told_to_be_higher_and_quicker(corpus: Corpus) -> None:
    train = [i for i, clip in enumerate(corpus.clips) if clip.split == "train"]
    speeds = {(i, n): drawn_speed(copy_rng(corpus.clips[i], n)) for i in train for n in (1, 2)}
    row, copy = max(speeds, key=lambda at: speeds[at])
    measures = corpus.measures[corpus.clips[row].id].faster(speeds[row, copy])
    assert corpus.facts(row, copy).levels == corpus.norms.levels(corpus.clips[row], measures)
    changed = [corpus.facts(i).levels.pitch != corpus.facts(i, n).levels.pitch for i, n in speeds]
    assert any(changed)
    for at, moved in zip(speeds, changed, strict=True):
        assert not (moved and speeds[at] == 1)
    for held_out in set(range(len(corpus.clips))) - set(train):
        assert corpus.facts(held_out, 1) == corpus.facts(held_out)


def test_the_labels_are_those_of_the_facts(corpus: Corpus) -> None:
    labels = training._Labels.of(corpus)
    for row in range(0, len(corpus.clips), 7):
        for copy in range(3):
            facts = corpus.facts(row, copy)
            assert EMOTIONS[labels.emotion[row]] == facts.emotion
            levels = [("low", "mid", "high")[i] for i in labels.levels[row, copy].tolist()]
            assert levels == list(vars(facts.levels).values())
            assert labels.female[row] == (facts.gender == "female")


def examples(
    corpus: Corpus, vocabulary: Vocabulary, drafts: Sequence[Drafts], batches: int = 12
) -> list[tuple[int, int, list[int], list[int]]]:
    """(row, copy, input tokens, targets) of some batches."""
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


def test_a_batch_depends_on_seed_and_step_and_takes_corpora_evenly(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    fewer = [c for c in range(len(corpus.clips)) if corpus.clips[c].corpus == "emodb" or c % 9 == 0]
    uneven = Corpus(
        [corpus.clips[i] for i in fewer], corpus.heard[fewer], corpus.measures, corpus.norms
    )
    sampler = training._Sampler(uneven, ["emodb", "ravdess"], vocabulary, 0)
    first, again = sampler.batch(3, 400)[0], sampler.batch(3, 400)[0]
    assert torch.equal(first.inputs, again.inputs)
    assert not np.array_equal(first.rows, sampler.batch(4, 400)[0].rows)
    drawn = [uneven.clips[row] for row in first.rows]
    assert {clip.split for clip in drawn} == {"train"}
    share = np.mean([clip.corpus == "emodb" for clip in drawn])
    assert share == pytest.approx(0.5, abs=0.07)


def test_a_drafter_learns_whole_captions_of_the_clips_own_facts(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    for row, copy, inputs, targets in examples(corpus, vocabulary, []):
        length = targets.index(EOS)
        assert inputs[0] == BOS
        assert inputs[1 : length + 1] == targets[:length]
        assert set(targets[length + 1 :]) | set(inputs[length + 1 :]) <= {PAD}
        text = vocabulary.decode(targets)
        facts = corpus.facts(row, copy)
        assert attributes_named(text, "pitch") == {facts.levels.pitch}
        assert attributes_named(text, "emotion") == {facts.emotion}
        assert not attributes_named(text, "gender")


def test_what_a_verifier_is_given_of_a_draft_is_no_target_and_what_it_learns_is_true(
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
        facts = corpus.facts(row, copy)
        assert draft.startswith(vocabulary.decode(inputs[1 : given + 1]))
        learnt = vocabulary.decode(targets)
        for attribute in ("emotion", "pitch", "loudness", "pace", "quality"):
            assert attributes_named(learnt, attribute) <= {facts.value(attribute)}
        cut += given > 0
        kept += learnt.split()[-1:] == draft.split()[-1:]
    assert 0.05 < cut / (12 * 16) < 0.25
    assert kept / (12 * 16) > 0.2


def test_a_draft_without_end_becomes_a_caption_that_fits(
    corpus: Corpus, vocabulary: Vocabulary
) -> None:
    endless = {
        copy_key(clip, n): "A speaker sounds sad, " * 16 for clip in corpus.clips for n in range(3)
    }
    for *_, inputs, targets in examples(corpus, vocabulary, [endless]):
        assert len(inputs) <= MAX_TOKENS + 1
        assert EOS in targets


def nothing_known(
    speakers: ProfileSampler, rows: NDArray[np.int64], *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(rows), EVIDENCE), torch.zeros(len(rows))


def test_drafts_are_of_the_training_clips_and_their_copies_and_are_kept(
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

    monkeypatch.setattr(training, "_drawn_habits", nothing_known)
    first = drafts(0, "first.json")
    clips = [corpus.clips[row] for row in corpus.rows(["emodb"], "train")]
    assert set(first) == {copy_key(clip, copy) for clip in clips for copy in range(3)}
    assert drafts(0, "again.json") == first
    assert drafts(1, "first.json") == first, "what is kept is not drafted again"
    sampled = drafts(1, "other.json")
    for clip in clips:
        assert first[copy_key(clip, 0)] == sampled[copy_key(clip, 0)]  # greedy
        assert first[copy_key(clip, 1)] != sampled[copy_key(clip, 1)]


def read(
    drafter: DrafterDecoder, embedding: torch.Tensor, profile: torch.Tensor, trust: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Condition and heard."""
    with torch.inference_mode():
        return drafter.read(embedding, profile, torch.full((len(embedding),), trust))


def test_a_state_says_what_was_heard_and_what_is_believed_within_the_unit_ball(
    corpus: Corpus, drafter: DrafterDecoder
) -> None:
    embedding, profile = torch.from_numpy(corpus.evidence[:12].reshape(2, 6, -1))
    tokens = torch.tensor([[BOS, 7, 9, 11]]).expand(6, -1)
    with torch.inference_mode():
        _, states = drafter(tokens, embedding, profile, torch.linspace(0, 1, 6))
    assert states.shape == (6, 4, STATE_DIM)
    heard, believed = states.split([AUDIO_DIM, ATTRIBUTE_DIM], -1)
    torch.testing.assert_close(heard, heard[:, :1].expand_as(heard))
    assert not torch.equal(believed[:, 0], believed[:, 1])
    assert float(states.norm(dim=-1).max()) <= 1 + 1e-6
    scores = emotion_logits(states, len(EMOTIONS))
    assert scores.shape == (6, 4, len(EMOTIONS))
    torch.testing.assert_close(
        scores.argmax(-1), believed[..., : len(EMOTIONS)].argmax(-1), rtol=0, atol=0
    )


@given(seed=st.integers(0, 2**31), size=st.integers(-6, 6), trust=st.floats(0, 1))
def test_a_state_is_within_the_unit_ball_whatever_is_heard(
    drafter: DrafterDecoder, seed: int, size: int, trust: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embedding, profile = 10.0**size * torch.randn(2, 3, EVIDENCE, generator=generator)
    tokens = torch.randint(4, 20, (3, 6), generator=generator)
    with torch.inference_mode():
        _, states = drafter(tokens, embedding, profile, torch.full((3,), trust))
    assert states.isfinite().all()
    assert float(states.norm(dim=-1).max()) <= 1 + 1e-5


def whole_numbers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Their sums and differences are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-999, 999, shape, generator=generator).float()


@given(seed=st.integers(0, 2**31))
def test_what_a_known_voice_always_adds_is_not_in_the_heard_part(
    vocabulary: Vocabulary, seed: int
) -> None:
    drafter = DrafterDecoder(EVIDENCE, len(vocabulary), width=16, layers=1, heads=2).eval()
    drafter.get_buffer("projection").normal_()
    drafter.get_buffer("population").copy_(whole_numbers((EVIDENCE,), seed))
    embedding, profile = whole_numbers((2, 3, EVIDENCE), seed + 1)
    voice = whole_numbers((EVIDENCE,), seed + 2)
    condition, heard = read(drafter, embedding, profile, 1)
    moved_condition, moved = read(drafter, embedding + voice, profile + voice, 1)
    assert torch.equal(heard, moved)
    assert not torch.equal(condition, moved_condition), "the device itself still hears the voice"
    _, half = read(drafter, embedding + voice, profile + voice, 0.5)
    assert not torch.allclose(half, read(drafter, embedding, profile, 0.5)[1])


def test_a_habit_that_is_not_trusted_is_not_read(corpus: Corpus, drafter: DrafterDecoder) -> None:
    embedding, profile = torch.from_numpy(corpus.evidence[:12].reshape(2, 6, -1))
    for one, other in zip(
        read(drafter, embedding, profile, 0), read(drafter, embedding, 9 * profile, 0), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_voice_of_which_nothing_is_known_and_the_average_one_are_read_alike(
    corpus: Corpus, drafter: DrafterDecoder
) -> None:
    embedding = torch.from_numpy(corpus.evidence[:6])
    average = drafter.get_buffer("population").expand_as(embedding)
    unknown, known = (read(drafter, embedding, average, trust) for trust in (0, 1))
    for one, other in zip(unknown, known, strict=True):
        torch.testing.assert_close(one, other)


def test_no_belief_is_about_gender(corpus: Corpus, drafter: DrafterDecoder) -> None:
    """Not the targets, nor the layer that makes beliefs: gender has a head of its own."""
    labels = training._Labels.of(corpus)
    assert len(EMOTIONS) + labels.levels.shape[2] == ATTRIBUTE_DIM
    embedding, profile = torch.from_numpy(corpus.evidence[:12].reshape(2, 6, -1))
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


def test_a_gender_that_the_corpus_does_not_say_is_not_learnt() -> None:
    odds = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    nothing = torch.full((3,), float("nan"))
    assert training._gender_loss(odds, nothing).item() == 0
    some = torch.tensor([1.0, float("nan"), 0.0])
    loss = training._gender_loss(odds, some)
    torch.testing.assert_close(loss, training._gender_loss(odds[[0, 2]], some[[0, 2]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert odds.grad is not None
    assert odds.grad[1] == 0


def test_habits_are_drawn_by_seed_and_step_alone(corpus: Corpus) -> None:
    speakers = ProfileSampler(corpus.clips, corpus.evidence)
    rows = corpus.rows(["emodb"], "train")
    first, again, other = (training._drawn_habits(speakers, rows, 3, step) for step in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0], other[0])
    known = training._drawn_habits(speakers, rows, 3, 5, strangers=0)[1]
    assert bool((known > 0).all())


def test_weights_that_are_not_whispers_are_a_named_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read"):
        AudioEncoder.from_whisper(weights)
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(TrainingError, match="lacks"):
        AudioEncoder.from_whisper(weights)
    save_file({name: torch.zeros(1) for name in AudioEncoder().state_dict()}, weights)
    with pytest.raises(TrainingError, match="no encoder"):
        AudioEncoder.from_whisper(weights)
