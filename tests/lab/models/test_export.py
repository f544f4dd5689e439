"""The exported models agree with the trained ones, and the pair fits together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from ugsd_lab.data.captions import GENDERED, LEXICON
from ugsd_lab.data.vocabulary import BOS, Vocabulary
from ugsd_lab.models import export
from ugsd_lab.models.audio_encoder import EMBEDDING_DIM, AudioEncoder
from ugsd_lab.models.export import (
    AUDIO_ENCODER_FOLDER,
    OodScore,
    export_audio_encoder,
    export_drafter,
    export_verifier,
    list_file,
)
from ugsd_lab.models.networks import AUDIO_DIM, STATE_DIM, DrafterDecoder, VerifierModel
from ugsd_sdk.drafter.gender_phrases import with_gender
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.errors import ModelError
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_server.verifier.onnx import OnnxScorer

SAMPLES = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["A speaker sounds sad, speaking slowly in a low voice."])


@pytest.fixture(scope="module")
def network(vocabulary: Vocabulary) -> DrafterDecoder:
    torch.manual_seed(0)
    network = DrafterDecoder(EMBEDDING_DIM, len(vocabulary)).eval()
    for name in ("population", "projection"):
        network.get_buffer(name).normal_()
    return network


@pytest.fixture(scope="module")
def ood_score() -> OodScore:
    embedding = np.random.default_rng(0).normal(size=(80, EMBEDDING_DIM)).astype(np.float32)
    return OodScore.fit(embedding)


@pytest.fixture(scope="module")
def pair(
    vocabulary: Vocabulary,
    network: DrafterDecoder,
    ood_score: OodScore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    verifier = VerifierModel(len(vocabulary), width=64, layers=2, heads=2).eval()
    export_audio_encoder(folder / AUDIO_ENCODER_FOLDER, AudioEncoder().eval())
    export_drafter(
        folder / "drafter", name="tiny", licence="none", drafter=network, ood_score=ood_score,
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


def embedding_from(drafter: OnnxDrafter) -> NDArray[np.float32]:
    return drafter._model().run("ears.onnx", {"samples": SAMPLES[None]})[0]


def test_exported_pair_fits_together(
    pair: Path, drafter: OnnxDrafter, vocabulary: Vocabulary
) -> None:
    scorer = OnnxScorer(pair / "verifier")
    scorer.load()
    assert drafter.info.vocabulary == scorer.info.vocabulary == bytes.fromhex(vocabulary.sha256)
    assert drafter.info.projection == scorer.info.projection
    assert drafter.info.state_dim == scorer.info.state_dim == STATE_DIM
    text = "A speaker sounds sad, speaking slowly in a low voice."
    assert drafter.text(vocabulary.encode(text)) == text


def test_audio_encoder_is_hashed_by_the_drafter(pair: Path) -> None:
    assert {path.name for path in (pair / AUDIO_ENCODER_FOLDER).iterdir()} == {"ears.onnx"}
    assert not (pair / "drafter" / "ears.onnx").exists()
    files = json.loads((pair / "drafter" / "model.json").read_text())["files"]
    assert set(files) == {"ears.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"}


def test_drafter_refuses_another_audio_encoder(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair / "drafter", tmp_path / "drafter")
    torch.manual_seed(5)
    export_audio_encoder(tmp_path / AUDIO_ENCODER_FOLDER, AudioEncoder().eval())
    with pytest.raises(ModelError, match=r"ears.*SHA-256"):
        OnnxDrafter(tmp_path / "drafter").load()


def test_file_listed_later_is_checked_too(pair: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drafter"
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    (folder / "gate.json").write_text("{}")
    list_file(folder, "gate.json")
    OnnxDrafter(folder).load()
    (folder / "gate.json").write_text("[]")
    with pytest.raises(ModelError, match=r"gate.json.*SHA-256"):
        OnnxDrafter(folder).load()


def inputs(
    embedding: NDArray[np.float32], profile: SpeakerProfile
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inputs of the conditioning network for a (1, E) embedding."""
    known = profile.mean[None] if profile.count else np.zeros_like(embedding)
    trust = torch.tensor([profile.weight], dtype=torch.float32)
    return torch.from_numpy(embedding), torch.from_numpy(known), trust


def some_profile(count: int) -> SpeakerProfile:
    if not count:
        return EMPTY_PROFILE
    return SpeakerProfile(
        count, np.random.default_rng(count).normal(size=EMBEDDING_DIM).astype(np.float32)
    )


@pytest.mark.parametrize("count", [0, 1, 30])
def test_exported_conditioning_network_equals_the_trained_one(
    network: DrafterDecoder, ood_score: OodScore, tmp_path: Path, count: int
) -> None:
    import onnxruntime

    names = ["condition", "state_base", "novelty", "femininity"]
    reader = export._ConditioningNetwork(network, ood_score).eval()
    embedding = np.random.default_rng(7).normal(size=(1, EMBEDDING_DIM)).astype(np.float32)
    example, asked = inputs(embedding + 1, EMPTY_PROFILE), inputs(embedding, some_profile(count))
    export._to_onnx(
        reader, example, tmp_path / "reader.onnx", inputs=["evidence", "habit", "trust"],
        outputs=names, dynamic={},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "reader.onnx")
    feeds = dict(zip(("evidence", "habit", "trust"), (x.numpy() for x in asked), strict=True))
    with torch.inference_mode():
        exact = reader(*asked)
        assert torch.equal(exact[0], network.read(*asked)[0])
    for name, found, expected in zip(names, session.run(None, feeds), exact, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_stored_drafter_agrees_with_the_network(
    drafter: OnnxDrafter, network: DrafterDecoder, count: int
) -> None:
    profile = some_profile(count)
    session = drafter.start(drafter.encode([SAMPLES], profile))
    tokens = [7, 9, 11]
    session.append(tokens)
    with torch.inference_mode():
        read = inputs(embedding_from(drafter), profile)
        logits, states = network(torch.tensor([[BOS, *tokens]]), *read)
    found, state = session.predict(), states[0, -1].numpy()
    assert np.corrcoef(found.logits, logits[0, -1].numpy())[0, 1] > 0.99
    np.testing.assert_allclose(found.state[:AUDIO_DIM], state[:AUDIO_DIM], atol=1e-4)
    np.testing.assert_allclose(found.state, state, atol=0.02)
    assert np.linalg.norm(found.state) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("odds", "gender"),
    [(3.0, "female"), (1.5, "female"), (1.0, None), (-1.0, None), (-1.5, "male")],
)
def test_gender_needs_odds_of_four_to_one(
    pair: Path,
    ood_score: OodScore,
    vocabulary: Vocabulary,
    tmp_path: Path,
    odds: float,
    gender: str | None,
) -> None:
    torch.manual_seed(0)
    sure = DrafterDecoder(EMBEDDING_DIM, len(vocabulary), width=16, layers=1, heads=2).eval()
    torch.nn.init.zeros_(sure.sounds_female.weight)
    torch.nn.init.constant_(sure.sounds_female.bias, odds)
    shutil.copytree(pair / AUDIO_ENCODER_FOLDER, tmp_path / AUDIO_ENCODER_FOLDER)
    export_drafter(
        tmp_path / "sure", name="sure", licence="none", drafter=sure, ood_score=ood_score,
        vocabulary=vocabulary,
    )  # fmt: skip
    drafter = OnnxDrafter(tmp_path / "sure")
    drafter.load()
    assert drafter.encode([SAMPLES]).gender == gender


def test_description_holds_the_gender_phrases(pair: Path, drafter: OnnxDrafter) -> None:
    assert json.loads((pair / "drafter" / "model.json").read_text())["gendered"] == list(GENDERED)
    neutral = ["A speaker sounds sad; the speaker's voice is low and the speaker talks slowly."]
    assert with_gender(neutral, "female", drafter.info.gendered_phrases) == [
        "A woman sounds sad; her voice is low and she talks slowly."
    ]


def test_unnormalised_embedding_does_not_depend_on_the_profile(drafter: OnnxDrafter) -> None:
    """The profile is built from it, and changes only the conditioning."""
    unenrolled, known = (drafter.encode([SAMPLES], some_profile(count)) for count in (0, 30))
    assert unenrolled.unnormalised is not None
    assert known.unnormalised is not None
    np.testing.assert_array_equal(unenrolled.unnormalised, known.unnormalised)
    np.testing.assert_array_equal(unenrolled.unnormalised, embedding_from(drafter)[0])
    assert not np.allclose(unenrolled.vector, known.vector)
    assert unenrolled.ood_score == known.ood_score
    np.testing.assert_array_equal(
        drafter.condition(known.unnormalised, some_profile(30)).vector, known.vector
    )


def test_profile_of_another_encoder_is_refused(drafter: OnnxDrafter) -> None:
    with pytest.raises(ModelError, match="another audio encoder"):
        drafter.encode([SAMPLES], SpeakerProfile(3, np.zeros(EMBEDDING_DIM + 1, dtype=np.float32)))


def test_stored_audio_encoder_agrees_with_the_network(pair: Path, tmp_path: Path) -> None:
    """The seed decides the initial weights of a module."""
    torch.manual_seed(5)
    encoder = AudioEncoder().eval()
    export_audio_encoder(tmp_path / AUDIO_ENCODER_FOLDER, encoder)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / AUDIO_ENCODER_FOLDER / "ears.onnx")
    with torch.inference_mode():
        exact = encoder(torch.from_numpy(SAMPLES)[None])[0].numpy()
    stored = session.run(None, {"samples": SAMPLES[None]})[0][0]
    assert np.corrcoef(stored, exact)[0, 1] > 0.999


def test_cropped_session_predicts_as_before(drafter: OnnxDrafter) -> None:
    session = drafter.start(drafter.encode([SAMPLES]))
    session.append([7])
    before = session.predict()
    session.append([9])
    session.append([11])
    session.crop(1)
    assert list(session.tokens) == [7]
    np.testing.assert_array_equal(session.predict().logits, before.logits)


@pytest.mark.parametrize("name", ["population", "projection", "projected_mean"])
def test_projection_id_depends_on_the_projections_numbers(
    vocabulary: Vocabulary, name: str
) -> None:
    torch.manual_seed(0)
    drafter = DrafterDecoder(EMBEDDING_DIM, len(vocabulary), width=16, layers=1, heads=2)
    before = export.projection_id(drafter)
    for weights in drafter.reader.parameters():
        torch.nn.init.normal_(weights)
    assert export.projection_id(drafter) == before, "what states do not show"
    drafter.get_buffer(name).view(-1)[3] += 1
    assert export.projection_id(drafter) != before


def test_content_tokens_of_the_verifier_state_attributes(
    pair: Path, vocabulary: Vocabulary
) -> None:
    content = json.loads((pair / "verifier" / "model.json").read_text())["content_tokens"]
    words = {vocabulary.decode([token]) for token in content}
    assert {*LEXICON["emotion"]["sad"]["strong"], "low", "softly"} <= words
    assert not {"a", "the", ".", "speaker"} & words


def test_ood_score_is_one_in_domain_larger_outside() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 300))

    def some(n: int, noise: float) -> NDArray[np.float32]:
        rows = rng.normal(size=(n, 40)) @ mixing + noise * rng.normal(size=(n, 300))
        return rows.astype(np.float32)

    ood_score = OodScore.fit(some(900, 1))
    assert float(ood_score(some(300, 1)).mean()) == pytest.approx(1, abs=0.15)
    assert float(ood_score(some(300, 3)).mean()) > 2


def test_graph_computes_the_same_ood_score(drafter: OnnxDrafter, ood_score: OodScore) -> None:
    found = drafter.encode([SAMPLES]).ood_score
    assert found == pytest.approx(float(ood_score(embedding_from(drafter))[0]), rel=0.02)
