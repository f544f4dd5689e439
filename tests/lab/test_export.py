"""What is exported is what was trained, and the pair fits together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ugsd_lab.captions import LEXICON
from ugsd_lab.ears import EVIDENCE_DIM, Ears
from ugsd_lab.export import (
    EARS_FOLDER,
    Novelty,
    export_drafter,
    export_ears,
    export_verifier,
    list_file,
)
from ugsd_lab.models import HEARD_DIM, STATE_DIM, DrafterDecoder, VerifierModel
from ugsd_lab.vocabulary import BOS, Vocabulary
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.errors import ModelError
from ugsd_server.verifier.onnx import OnnxScorer

SAMPLES = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["A man sounds sad, speaking slowly in a low voice."])


@pytest.fixture(scope="module")
def network(vocabulary: Vocabulary) -> DrafterDecoder:
    torch.manual_seed(0)
    network = DrafterDecoder(EVIDENCE_DIM, len(vocabulary)).eval()
    network.get_buffer("projection").normal_()
    return network


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    evidence = np.random.default_rng(0).normal(size=(80, EVIDENCE_DIM)).astype(np.float32)
    return Novelty.fit(evidence)


@pytest.fixture(scope="module")
def pair(
    vocabulary: Vocabulary,
    network: DrafterDecoder,
    novelty: Novelty,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    verifier = VerifierModel(len(vocabulary), width=64, layers=2, heads=2).eval()
    export_ears(folder / EARS_FOLDER, Ears().eval())
    export_drafter(
        folder / "drafter", name="tiny", licence="none", drafter=network, novelty=novelty,
        vocabulary=vocabulary,
    )  # fmt: skip
    export_verifier(
        folder / "verifier", name="tiny", licence="none", verifier=verifier, drafter=network,
        vocabulary=vocabulary,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def drafter(pair: Path) -> OnnxDrafter:
    drafter = OnnxDrafter(pair / "drafter")
    drafter.load()
    return drafter


def heard_by(drafter: OnnxDrafter) -> NDArray[np.float32]:
    return drafter._model().run("ears.onnx", {"samples": SAMPLES[None]})[0]


def test_the_exported_pair_fits_together(
    pair: Path, drafter: OnnxDrafter, vocabulary: Vocabulary
) -> None:
    scorer = OnnxScorer(pair / "verifier")
    scorer.load()
    assert drafter.info.vocabulary == scorer.info.vocabulary == bytes.fromhex(vocabulary.sha256)
    assert drafter.info.projection == scorer.info.projection
    assert drafter.info.state_dim == scorer.info.state_dim == STATE_DIM
    text = "A man sounds sad, speaking slowly in a low voice."
    assert drafter.text(vocabulary.encode(text)) == text


def test_the_ears_lie_beside_the_drafter_and_are_among_its_hashes(pair: Path) -> None:
    assert {path.name for path in (pair / EARS_FOLDER).iterdir()} == {"ears.onnx"}
    assert not (pair / "drafter" / "ears.onnx").exists()
    files = json.loads((pair / "drafter" / "model.json").read_text())["files"]
    assert set(files) == {"ears.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"}


def test_a_drafter_refuses_ears_that_it_was_not_trained_with(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair / "drafter", tmp_path / "drafter")
    torch.manual_seed(5)
    export_ears(tmp_path / EARS_FOLDER, Ears().eval())
    with pytest.raises(ModelError, match=r"ears.*SHA-256"):
        OnnxDrafter(tmp_path / "drafter").load()


def test_a_file_that_comes_later_is_checked_too(pair: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drafter"
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    (folder / "gate.json").write_text("{}")
    list_file(folder, "gate.json")
    OnnxDrafter(folder).load()
    (folder / "gate.json").write_text("[]")
    with pytest.raises(ModelError, match=r"gate.json.*SHA-256"):
        OnnxDrafter(folder).load()


def test_the_stored_drafter_says_what_the_network_says(
    drafter: OnnxDrafter, network: DrafterDecoder
) -> None:
    session = drafter.start(drafter.encode(SAMPLES))
    tokens = [7, 9, 11]
    session.append(tokens)
    evidence = torch.from_numpy(heard_by(drafter))
    with torch.inference_mode():
        logits, states = network(torch.tensor([[BOS, *tokens]]), evidence)
    found, state = session.predict(), states[0, -1].numpy()
    assert np.corrcoef(found.logits, logits[0, -1].numpy())[0, 1] > 0.99
    np.testing.assert_allclose(found.state[:HEARD_DIM], state[:HEARD_DIM], atol=1e-4)
    np.testing.assert_allclose(found.state, state, atol=0.02)
    assert np.linalg.norm(found.state) <= 1 + 1e-6


def test_the_stored_ears_hear_what_the_network_hears(pair: Path, tmp_path: Path) -> None:
    """The seed decides the weights that a module is born with."""
    torch.manual_seed(5)
    ears = Ears().eval()
    export_ears(tmp_path / EARS_FOLDER, ears)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / EARS_FOLDER / "ears.onnx")
    with torch.inference_mode():
        exact = ears(torch.from_numpy(SAMPLES)[None])[0].numpy()
    stored = session.run(None, {"samples": SAMPLES[None]})[0][0]
    assert np.corrcoef(stored, exact)[0, 1] > 0.999


def test_a_cropped_session_predicts_as_before(drafter: OnnxDrafter) -> None:
    session = drafter.start(drafter.encode(SAMPLES))
    session.append([7])
    before = session.predict()
    session.append([9])
    session.append([11])
    session.crop(1)
    assert list(session.tokens) == [7]
    np.testing.assert_array_equal(session.predict().logits, before.logits)


def test_a_projection_is_known_by_its_numbers(
    pair: Path, vocabulary: Vocabulary, novelty: Novelty, tmp_path: Path
) -> None:
    other = DrafterDecoder(EVIDENCE_DIM, len(vocabulary), layers=1).eval()
    other.get_buffer("projection").normal_()
    shutil.copytree(pair / EARS_FOLDER, tmp_path / EARS_FOLDER)
    export_drafter(
        tmp_path / "other", name="other", licence="none", drafter=other, novelty=novelty,
        vocabulary=vocabulary,
    )  # fmt: skip
    own, its = (
        json.loads((folder / "model.json").read_text())["projection"]
        for folder in (pair / "drafter", tmp_path / "other")
    )
    assert own != its


def test_the_verifiers_content_tokens_state_facts(pair: Path, vocabulary: Vocabulary) -> None:
    content = json.loads((pair / "verifier" / "model.json").read_text())["content_tokens"]
    words = {vocabulary.decode([token]) for token in content}
    assert {*LEXICON["emotion"]["sad"]["strong"], "low", "softly", "woman"} <= words
    assert not {"a", "the", "."} & words


def test_novelty_is_about_one_at_home_and_larger_away() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 300))

    def some(n: int, noise: float) -> NDArray[np.float32]:
        rows = rng.normal(size=(n, 40)) @ mixing + noise * rng.normal(size=(n, 300))
        return rows.astype(np.float32)

    novelty = Novelty.fit(some(900, 1))
    assert float(novelty(some(300, 1)).mean()) == pytest.approx(1, abs=0.15)
    assert float(novelty(some(300, 3)).mean()) > 2


def test_the_graph_finds_the_same_novelty(drafter: OnnxDrafter, novelty: Novelty) -> None:
    found = drafter.encode(SAMPLES).novelty
    assert found == pytest.approx(float(novelty(heard_by(drafter))[0]), rel=0.02)
