"""Training on a few random audio embeddings: properties that hold for any data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ugsd_lab.data.augment import drawn_speed
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.training_recordings import TrainingRecordings, copy_rng
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.networks import CaptionDecoder, EmotionReader, VerifierModel
from ugsd_lab.training import caption_decoder, emotion_reader, fitting, verifier
from ugsd_lab.training.caption_decoder import train_decoder
from ugsd_lab.training.corpus import Corpus
from ugsd_lab.training.emotion_reader import RowSampler, drawn_profiles, train_reader
from ugsd_lab.training.profiles import ProfileSampler
from ugsd_lab.training.verifier import train_verifier

from tests.lab.training.small_corpus import fitted, quiet


@pytest.fixture(autouse=True)
def small_models_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 2)
    for module in (emotion_reader, caption_decoder, verifier):
        monkeypatch.setattr(module, "BATCH", 8)
    small = {"width": 32, "layers": 1, "heads": 2}
    monkeypatch.setattr(verifier, "VerifierModel", partial(VerifierModel, **small))
    monkeypatch.setattr(caption_decoder, "CaptionDecoder", partial(CaptionDecoder, **small))


class _Killed(Exception):
    pass


def kill_at_four(stage: str, done: int, of: int, note: str) -> None:
    if done == 4:
        raise _Killed


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def trained_reader(
    corpus: Corpus, corpora: Sequence[str], checkpoint: Path, progress: Progress = quiet
) -> EmotionReader:
    return train_reader(
        corpus, corpora, fitted(corpus, corpora), name="tiny", steps=5, seed=3,
        checkpoint=checkpoint, progress=progress,
    )  # fmt: skip


def test_resumed_reader_reaches_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    whole = trained_reader(corpus, ["emodb"], tmp_path / "whole.pt")
    with pytest.raises(_Killed):
        trained_reader(corpus, ["emodb"], tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, trained_reader(corpus, ["emodb"], tmp_path / "killed.pt"))


def test_resumed_decoder_reaches_the_same_weights(vocabulary: Vocabulary, tmp_path: Path) -> None:
    def train(checkpoint: Path, progress: Progress) -> CaptionDecoder:
        return train_decoder(vocabulary, steps=5, seed=3, checkpoint=checkpoint, progress=progress)

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, train(tmp_path / "killed.pt", quiet))


def test_resumed_verifier_reaches_the_same_weights(
    corpus: Corpus,
    vocabulary: Vocabulary,
    reader: EmotionReader,
    tmp_path: Path,
) -> None:
    def train(checkpoint: Path, progress: Progress) -> VerifierModel:
        return train_verifier(
            corpus, ["emodb", "ravdess"], vocabulary, [reader, reader],
            steps=5, seed=3, checkpoint=checkpoint, progress=progress,
        )  # fmt: skip

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    assert_same_weights(whole, train(tmp_path / "killed.pt", quiet))


def test_reader_depends_on_its_training_speakers_alone(corpus: Corpus, tmp_path: Path) -> None:
    """Changing clips that the reader may not know does not change it."""
    excluded = [clip.split != "train" or clip.corpus != "emodb" for clip in corpus.clips]
    changed = corpus.embeddings.copy()
    changed[excluded] += 5
    readers = [
        trained_reader(which, ["emodb"], tmp_path / f"{i}.pt")
        for i, which in enumerate((corpus, replace(corpus, embeddings=changed)))
    ]
    assert_same_weights(*readers)


def test_strength_is_unknown_without_labels(corpus: Corpus, tmp_path: Path) -> None:
    """EMO-DB does not label it, so its reader says nothing: log-odds of 0."""
    reader = trained_reader(corpus, ["emodb"], tmp_path / "without.pt")
    embedding = torch.from_numpy(corpus.clean_embeddings[:6])
    with torch.inference_mode():
        assert not reader(embedding, embedding, torch.zeros(6)).strength.any()
    clips = [replace(c, intensity=("strong", "normal")[i % 2]) for i, c in enumerate(corpus.clips)]
    knowing = trained_reader(replace(corpus, clips=clips), ["emodb"], tmp_path / "with.pt")
    with torch.inference_mode():
        assert knowing(embedding, embedding, torch.zeros(6)).strength.all()


def test_faster_copy_has_labels_of_higher_pitch(corpus: Corpus) -> None:
    recordings = TrainingRecordings(corpus.clips)
    train = [i for i, clip in enumerate(corpus.clips) if clip.split == "train"]
    speeds = {(i, n): drawn_speed(copy_rng(corpus.clips[i], n)) for i in train for n in (1, 2)}
    alone = [at for at in speeds if recordings.companion(corpus.clips[at[0]], at[1]) is None]
    row, copy = max(alone, key=lambda at: speeds[at])
    measures = corpus.measures[corpus.clips[row].id].faster(speeds[row, copy])
    assert corpus.labels(row, copy).levels == corpus.norms.levels(corpus.clips[row], measures)
    changed = [corpus.labels(i).levels.pitch != corpus.labels(i, n).levels.pitch for i, n in alone]
    assert any(changed)
    for at, moved in zip(alone, changed, strict=True):
        assert not (moved and speeds[at] == 1)
    for held_out in set(range(len(corpus.clips))) - set(train):
        assert corpus.labels(held_out, 1) == corpus.labels(held_out)


def test_joined_copy_has_the_measures_of_both(corpus: Corpus) -> None:
    recordings = TrainingRecordings(corpus.clips)
    pairs = [
        (row, copy, companion)
        for row, clip in enumerate(corpus.clips)
        for copy in (1, 2)
        if (companion := recordings.companion(clip, copy)) is not None
    ]
    assert pairs
    for row, copy, companion in pairs:
        clip = corpus.clips[row]
        assert (companion.speaker, companion.emotion) == (clip.speaker, clip.emotion)
        assert companion.id != clip.id
        both = corpus.measures[clip.id].joined(corpus.measures[companion.id])
        expected = corpus.norms.levels(clip, both.faster(drawn_speed(copy_rng(clip, copy))))
        assert corpus.labels(row, copy).levels == expected


def test_targets_agree_with_the_attribute_labels(corpus: Corpus) -> None:
    targets = emotion_reader._Labels.of(corpus)
    for row in range(0, len(corpus.clips), 7):
        for copy in range(3):
            labels = corpus.labels(row, copy)
            assert EMOTIONS[targets.emotion[row]] == labels.emotion
            levels = [("low", "mid", "high")[i] for i in targets.levels[row, copy].tolist()]
            assert levels == list(vars(labels.levels).values())
            assert targets.female[row] == (labels.gender == "female")


def test_rows_are_reproducible_and_balance_corpora(corpus: Corpus) -> None:
    fewer = [c for c in range(len(corpus.clips)) if corpus.clips[c].corpus == "emodb" or c % 9 == 0]
    uneven = Corpus(
        [corpus.clips[i] for i in fewer], corpus.embeddings[fewer], corpus.measures, corpus.norms
    )
    sampler = RowSampler(uneven, ["emodb", "ravdess"], 0)
    (rows, copies), again = sampler.draw(3, 400), sampler.draw(3, 400)
    np.testing.assert_array_equal(rows, again[0])
    np.testing.assert_array_equal(copies, again[1])
    assert not np.array_equal(rows, sampler.draw(4, 400)[0])
    drawn = [uneven.clips[row] for row in rows]
    assert {clip.split for clip in drawn} == {"train"}
    assert np.mean([clip.corpus == "emodb" for clip in drawn]) == pytest.approx(0.5, abs=0.07)
    assert np.mean(copies == 0) == pytest.approx(5 / 9, abs=0.08)


def test_missing_labels_are_not_learnt() -> None:
    odds = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    nothing = torch.full((3,), float("nan"))
    assert emotion_reader._log_odds_loss(odds, nothing).item() == 0
    some = torch.tensor([1.0, float("nan"), 0.0])
    loss = emotion_reader._log_odds_loss(odds, some)
    torch.testing.assert_close(loss, emotion_reader._log_odds_loss(odds[[0, 2]], some[[0, 2]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert odds.grad is not None
    assert odds.grad[1] == 0


def test_profiles_depend_on_seed_and_step_alone(corpus: Corpus) -> None:
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)
    rows = corpus.rows(["emodb"], "train")
    first, again, other = (drawn_profiles(speakers, rows, 3, step) for step in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0], other[0])
    known = drawn_profiles(speakers, rows, 3, 5, unenrolled_share=0)[1]
    assert bool((known > 0).all())


def test_verifier_sees_no_more_than_was_disclosed() -> None:
    lengths, rng = np.array([4, 7, 9] * 60), np.random.default_rng(0)
    masks = [tuple(row) for row in verifier._disclosed(lengths, 12, rng).tolist()]
    assert set(np.array(masks).ravel().tolist()) == {0.0, 1.0}
    nothing, summary = (0.0,) * 12, (1.0,) + (0.0,) * 11
    whole = {(1.0,) * n + (0.0,) * (12 - n) for n in (4, 7, 9)}
    assert {nothing, summary, *whole} <= set(masks)
    assert masks.count(summary) > len(masks) / 2
