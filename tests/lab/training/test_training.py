"""Training on a few random audio embeddings: properties that hold for any data."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ugsd_lab.data.augment import drawn_speed
from ugsd_lab.data.captions import attributes_named, caption
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_lab.models.embeddings import copy_key, copy_rng
from ugsd_lab.models.networks import (
    MAX_TOKENS,
    DrafterDecoder,
    VerifierModel,
)
from ugsd_lab.training import train as training
from ugsd_lab.training.profiles import ProfileSampler
from ugsd_lab.training.train import Corpus, Drafts

from tests.lab.training.small_corpus import EMBEDDING_DIM, fitted, quiet


@pytest.fixture(autouse=True)
def small_models_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training, "BATCH", 8)
    small = partial(VerifierModel, width=32, layers=1, heads=2)
    monkeypatch.setattr(training, "VerifierModel", small)


class _Killed(Exception):
    pass


def kill_at_four(stage: str, done: int, of: int, note: str) -> None:
    if done == 4:
        raise _Killed


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


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
