"""Training on a little random evidence: what it must keep, whatever the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ugsd_lab import training
from ugsd_lab.captions import references
from ugsd_lab.corpora import load_corpora
from ugsd_lab.ears import Ears
from ugsd_lab.errors import TrainingError
from ugsd_lab.export import Novelty, export_drafter, export_verifier
from ugsd_lab.models import STATE_DIM, DrafterDecoder, VerifierModel
from ugsd_lab.prosody import Measures, Norms
from ugsd_lab.vocabulary import BOS, EOS, Vocabulary
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_server.verifier.onnx import OnnxScorer


@pytest.fixture(scope="module")
def corpus() -> training.Corpus:
    clips = load_corpora(None)[::10]
    rng = np.random.default_rng(0)
    measures = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    evidence = rng.normal(size=(len(clips), 2304)).astype(np.float32)
    return training.Corpus(clips, evidence, measures, Norms.fit(clips, measures))


@pytest.fixture(scope="module")
def vocabulary(corpus: training.Corpus) -> Vocabulary:
    return Vocabulary.train(
        text
        for clip in corpus.clips
        for text in references(clip, corpus.norms.levels(clip, corpus.measures[clip.id]))
    )


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that nobody watches."""


class _Killed(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_weights(
    corpus: training.Corpus,
    vocabulary: Vocabulary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training, "BATCH", 8)

    def train(checkpoint: Path, progress: training.Progress) -> DrafterDecoder:
        return training.train_drafter(
            corpus, ["emodb"], vocabulary,
            steps=5, seed=3, checkpoint=checkpoint, progress=progress,
        )  # fmt: skip

    def kill_at_four(stage: str, done: int, of: int, note: str) -> None:
        if done == 4:
            raise _Killed

    whole = train(tmp_path / "whole.pt", quiet)
    with pytest.raises(_Killed):
        train(tmp_path / "killed.pt", kill_at_four)
    resumed = train(tmp_path / "killed.pt", quiet)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_state_projection_is_fitted_on_the_drafters_own_corpora(
    corpus: training.Corpus, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    """Changing clips that the drafter may not know changes nothing of it."""
    strangers = [clip.split != "train" for clip in corpus.clips]
    changed = corpus.evidence.copy()
    changed[strangers] += 5
    other = training.Corpus(corpus.clips, changed, corpus.measures, corpus.norms)
    drafters = [
        training.train_drafter(
            which, ["emodb"], vocabulary,
            steps=2, seed=0, checkpoint=tmp_path / f"{i}.pt", progress=quiet,
        )
        for i, which in enumerate((corpus, other))
    ]  # fmt: skip
    for name, value in drafters[0].state_dict().items():
        assert torch.equal(value, drafters[1].state_dict()[name]), name


def test_captions_survive_the_vocabulary(corpus: training.Corpus, vocabulary: Vocabulary) -> None:
    for row in range(len(corpus.clips)):
        clip = corpus.clips[row]
        for text in references(clip, corpus.norms.levels(clip, corpus.measures[clip.id])):
            assert vocabulary.decode([BOS, *vocabulary.encode(text), EOS]) == text


@pytest.fixture(scope="module")
def folders(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pair")
    drafter = DrafterDecoder(2304, len(vocabulary)).eval()
    verifier = VerifierModel(len(vocabulary), width=64, layers=2).eval()
    torch.save((drafter.state_dict(), verifier.state_dict()), folder / "weights.pt")
    evidence = np.random.default_rng(0).normal(size=(80, 2304)).astype(np.float32)
    export_drafter(
        folder / "drafter", name="tiny", licence="none", ears=Ears().eval(), drafter=drafter,
        novelty=Novelty.fit(evidence), vocabulary=vocabulary,
    )  # fmt: skip
    export_verifier(
        folder / "verifier", name="tiny", licence="none", verifier=verifier, drafter=drafter,
        vocabulary=vocabulary,
    )  # fmt: skip
    return folder / "drafter", folder / "verifier"


def test_the_exported_pair_fits_together(folders: tuple[Path, Path]) -> None:
    drafter, scorer = OnnxDrafter(folders[0]), OnnxScorer(folders[1])
    drafter.load()
    scorer.load()
    assert drafter.info.vocabulary == scorer.info.vocabulary
    assert drafter.info.projection == scorer.info.projection
    assert drafter.info.state_dim == scorer.info.state_dim == STATE_DIM


def test_the_int8_drafter_says_what_the_network_says(
    folders: tuple[Path, Path], vocabulary: Vocabulary
) -> None:
    drafter = OnnxDrafter(folders[0])
    drafter.load()
    network = DrafterDecoder(2304, len(vocabulary)).eval()
    network.load_state_dict(torch.load(folders[0].parent / "weights.pt", weights_only=True)[0])
    samples = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    evidence = drafter._model().run("ears.onnx", {"samples": samples[None]})[0]
    heard = drafter.encode(samples)
    session = drafter.start(heard)
    tokens = [7, 9, 11]
    session.append(tokens)
    with torch.inference_mode():
        logits, states = network(torch.tensor([[BOS, *tokens]]), torch.from_numpy(evidence))
    found = session.predict()
    assert np.corrcoef(found.logits, logits[0, -1].numpy())[0, 1] > 0.99
    assert float(found.state @ states[0, -1].numpy()) > 0.99
    assert np.linalg.norm(found.state) == pytest.approx(1, abs=1e-5)


def test_a_cropped_session_predicts_as_before(folders: tuple[Path, Path]) -> None:
    drafter = OnnxDrafter(folders[0])
    drafter.load()
    session = drafter.start(drafter.encode(np.full(16_000, 0.1, dtype=np.float32)))
    session.append([7])
    before = session.predict()
    session.append([9])
    session.append([11])
    session.crop(1)
    assert list(session.tokens) == [7]
    np.testing.assert_array_equal(session.predict().logits, before.logits)


def test_novelty_is_about_one_at_home_and_larger_away() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 300))

    def some(n: int, noise: float) -> NDArray[np.float32]:
        rows = rng.normal(size=(n, 40)) @ mixing + noise * rng.normal(size=(n, 300))
        return rows.astype(np.float32)

    novelty = Novelty.fit(some(900, 1))
    assert float(novelty(some(300, 1)).mean()) == pytest.approx(1, abs=0.15)
    assert float(novelty(some(300, 3)).mean()) > 2


def test_the_graph_finds_the_same_novelty(folders: tuple[Path, Path]) -> None:
    drafter = OnnxDrafter(folders[0])
    drafter.load()
    fitted = Novelty.fit(np.random.default_rng(0).normal(size=(80, 2304)).astype(np.float32))
    samples = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    evidence = drafter._model().run("ears.onnx", {"samples": samples[None]})[0]
    assert drafter.encode(samples).novelty == pytest.approx(float(fitted(evidence)[0]), rel=0.02)


def test_weights_that_are_not_whispers_are_a_named_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read"):
        Ears.from_whisper(weights)
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(TrainingError, match="lacks"):
        Ears.from_whisper(weights)
    save_file({name: torch.zeros(1) for name in Ears().state_dict()}, weights)
    with pytest.raises(TrainingError, match="no encoder"):
        Ears.from_whisper(weights)
