"""The exported models agree with the trained ones, and the pair fits together."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from ugsd_lab.data.grammar import caption_text, clauses
from ugsd_lab.data.lexicon import GENDERED, LEXICON
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import BOS, Vocabulary
from ugsd_lab.models import export
from ugsd_lab.models.audio_encoder import HEAD_DIM, AudioEncoder
from ugsd_lab.models.export import (
    AUDIO_ENCODER_FOLDER,
    OodScore,
    export_audio_encoder,
    export_drafter,
    export_verifier,
    list_file,
)
from ugsd_lab.models.networks import (
    STATE_DIM,
    CaptionDecoder,
    EmotionReader,
    VerifierModel,
)
from ugsd_lab.models.voice import VoiceProjection
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.gender_phrases import gender_from, with_gender
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.errors import ModelError
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.speech.windows import encoder_frames
from ugsd_server.verifier.onnx import OnnxScorer

EMBEDDING_DIM = AudioEncoder(HEAD_DIM).embedding_dim
TEMPERATURE = (0.3, 0.2)
VOICE = VoiceProjection(np.zeros(EMBEDDING_DIM), np.eye(EMBEDDING_DIM, 8))
SAMPLES = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.fixture(scope="module")
def reader() -> EmotionReader:
    torch.manual_seed(0)
    reader = EmotionReader(EMBEDDING_DIM).eval()
    for name in ("population", "projection"):
        reader.get_buffer(name).normal_()
    reader.get_buffer("knows_strength").fill_(1)
    return reader


@pytest.fixture(scope="module")
def decoder(vocabulary: Vocabulary) -> CaptionDecoder:
    torch.manual_seed(0)
    return CaptionDecoder(len(vocabulary)).eval()


@pytest.fixture(scope="module")
def ood_score() -> OodScore:
    embedding = np.random.default_rng(0).normal(size=(80, EMBEDDING_DIM)).astype(np.float32)
    return OodScore.fit(embedding, slice(0, 192))


@pytest.fixture(scope="module")
def pair(
    vocabulary: Vocabulary,
    reader: EmotionReader,
    decoder: CaptionDecoder,
    ood_score: OodScore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    verifier = VerifierModel(len(vocabulary), projections=2, width=64, layers=2, heads=2).eval()
    other = EmotionReader(EMBEDDING_DIM)
    export_audio_encoder(folder / AUDIO_ENCODER_FOLDER, AudioEncoder(HEAD_DIM).eval())
    export_drafter(
        folder / "drafter", name="tiny", licence="none", reader=reader, decoder=decoder,
        ood_score=ood_score, temperature=TEMPERATURE, voice=VOICE, vocabulary=vocabulary,
    )  # fmt: skip
    export_verifier(
        folder / "verifier", name="tiny", licence="none", verifier=verifier,
        readers=[other, reader],
        vocabulary=vocabulary,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def drafter(pair: Path) -> OnnxDrafter:
    drafter = OnnxDrafter(pair / "drafter")
    drafter.load()
    return drafter


def embedding_from(drafter: OnnxDrafter) -> NDArray[np.float32]:
    return drafter.embed(SAMPLES)[None]


def test_exported_pair_fits_together(
    pair: Path, drafter: OnnxDrafter, vocabulary: Vocabulary
) -> None:
    scorer = OnnxScorer(pair / "verifier")
    scorer.load()
    assert drafter.info.vocabulary == scorer.info.vocabulary == bytes.fromhex(vocabulary.sha256)
    assert scorer.info.projections.index(drafter.info.projection) == 1
    assert scorer.info.input_dim == 2 * STATE_DIM
    (emotions,) = scorer.info.values.values()
    stated = [{vocabulary.emotions_named([token]).pop() for token in one} for one in emotions]
    assert stated == [{emotion} for emotion in EMOTIONS]
    assert drafter.info.state_dim == scorer.info.state_dim == STATE_DIM
    plan = random_plan(random.Random(0))
    assert drafter.text(vocabulary.encode(clauses("sad", plan))) == caption_text("sad", plan)


def test_audio_encoder_is_hashed_by_the_drafter(pair: Path) -> None:
    assert {path.name for path in (pair / AUDIO_ENCODER_FOLDER).iterdir()} == {"audio_encoder.onnx"}
    assert not (pair / "drafter" / "audio_encoder.onnx").exists()
    files = json.loads((pair / "drafter" / "model.json").read_text())["files"]
    assert set(files) == {
        "audio_encoder.onnx",
        "voice.onnx",
        "reader.onnx",
        "decoder.onnx",
        "vocabulary.json",
        "slots.json",
    }


def test_drafter_refuses_another_audio_encoder(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair / "drafter", tmp_path / "drafter")
    torch.manual_seed(5)
    export_audio_encoder(tmp_path / AUDIO_ENCODER_FOLDER, AudioEncoder(HEAD_DIM).eval())
    with pytest.raises(ModelError, match=r"audio_encoder.*SHA-256"):
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
    reader: EmotionReader, ood_score: OodScore, tmp_path: Path, count: int
) -> None:
    import onnxruntime

    names = ["emotion", "state", "ood_score", "femininity", "strength"]
    network = export._ConditioningNetwork(reader, ood_score, *TEMPERATURE).eval()
    embedding = np.random.default_rng(7).normal(size=(1, EMBEDDING_DIM)).astype(np.float32)
    example, asked = inputs(embedding + 1, EMPTY_PROFILE), inputs(embedding, some_profile(count))
    export._to_onnx(
        network, example, tmp_path / "reader.onnx",
        inputs=["embedding", "profile", "profile_weight"], outputs=names, dynamic={},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "reader.onnx")
    feeds = dict(
        zip(("embedding", "profile", "profile_weight"), (x.numpy() for x in asked), strict=True)
    )
    with torch.inference_mode():
        exact = network(*asked)
        reading = reader(*asked)
    log1p_ood = torch.from_numpy(np.log1p(ood_score(embedding)))
    temperature = (TEMPERATURE[0] + TEMPERATURE[1] * log1p_ood).exp()[:, None]
    expected_emotion = (reading.emotion.mean(1) / temperature).log_softmax(-1)
    torch.testing.assert_close(exact[0], expected_emotion, rtol=1e-3, atol=1e-3)
    assert torch.equal(exact[1], reading.state)
    for name, found, expected in zip(names, session.run(None, feeds), exact, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, err_msg=name)


def network_steps(
    decoder: CaptionDecoder, clip: ConditionedClip, plan: CaptionPlan, tokens: list[int]
) -> NDArray[np.float32]:
    """Return logits (T, V) of the torch network for the start and ``tokens``."""
    emotion = torch.from_numpy(clip.decoder_input)[None]
    features = torch.from_numpy(plan.features)[None]
    with torch.inference_mode():
        logits, _ = decoder(
            torch.tensor([[BOS, *tokens]]), emotion, features, decoder.causal.empty_past(1)
        )
    found: NDArray[np.float32] = logits[0].numpy()
    return found


@pytest.mark.parametrize("count", [0, 1, 30])
def test_stored_drafter_agrees_with_the_network(
    drafter: OnnxDrafter, decoder: CaptionDecoder, vocabulary: Vocabulary, count: int
) -> None:
    """Step by step, in several steps with a cache, and after a crop."""
    plan = random_plan(random.Random(count), length=CaptionLength.RICH)
    clip = drafter.condition(drafter.embed(SAMPLES), some_profile(count))
    tokens = vocabulary.encode(clauses("sad", plan))
    logits = network_steps(decoder, clip, plan, tokens)
    session = drafter.start(replace(clip, plan=plan))
    for place, token in enumerate([*tokens, None]):
        found = session.predict()
        allowed = found.logits > -1000
        if allowed.sum() > 2:
            exact = logits[place][allowed]
            assert np.corrcoef(found.logits[allowed], exact)[0, 1] > 0.98
        np.testing.assert_array_equal(found.state, clip.state)
        assert np.linalg.norm(found.state) <= 1 + 1e-6
        if token is not None:
            assert allowed[token], "the guide allows the grammar"
            session.append([token])
    last = session.predict()
    session.crop(3)
    session.append(tokens[3:])
    np.testing.assert_allclose(session.predict().logits, last.logits, atol=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_untrained_drafter_follows_the_plan(
    drafter: OnnxDrafter, vocabulary: Vocabulary, seed: int
) -> None:
    plan = random_plan(random.Random(seed))
    session = drafter.start(replace(drafter.encode([SAMPLES]), plan=plan))
    rng = np.random.default_rng(seed)
    for _ in range(drafter.info.max_tokens):
        logits = session.predict().logits.astype(np.float64)
        chance = np.exp(3 * (logits - logits.max()))
        token = int(rng.choice(len(chance), p=chance / chance.sum()))
        session.append([token])
        if token == drafter.info.eos:
            break
    tokens = [token for token in session.tokens if token != drafter.info.eos]
    slots = [vocabulary.slots[token] for token in tokens]
    order = list(dict.fromkeys(slots))
    planned = [*plan.slots, None]
    assert order == planned[: len(order)]
    for token, slot in zip(tokens, slots, strict=True):
        if slot not in (None, "emotion"):
            assert token in vocabulary.values[slot][plan.values[Slot(slot)]]
    assert len(vocabulary.emotions_named(tokens)) <= 1
    if session.tokens[-1] == drafter.info.eos:
        assert order == planned
        assert drafter.text(tokens).endswith(".")
        assert len(vocabulary.emotions_named(tokens)) == 1


def test_embedding_has_calibrated_emotion_and_strength(drafter: OnnxDrafter) -> None:
    embedding = drafter.encode([SAMPLES])
    assert embedding.emotion is not None
    assert sum(embedding.emotion.values()) == pytest.approx(1)
    assert embedding.strong is not None
    assert 0 <= embedding.strong <= 1


@pytest.mark.parametrize(
    "damaged", [b"", b"{}", b"[]", b'{"format":1,"slots":[],"values":{}}', b"\xff\xfe"]
)
def test_damaged_slots_are_a_model_error(pair: Path, tmp_path: Path, damaged: bytes) -> None:
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    (tmp_path / "drafter" / "slots.json").write_bytes(damaged)
    with pytest.raises(ModelError, match=r"slots.json.*SHA-256"):
        OnnxDrafter(tmp_path / "drafter").load()
    list_file(tmp_path / "drafter", "slots.json")
    with pytest.raises(ModelError, match="reinstall"):
        OnnxDrafter(tmp_path / "drafter").load()


def test_missing_slots_are_a_model_error(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path, dirs_exist_ok=True)
    (tmp_path / "drafter" / "slots.json").unlink()
    with pytest.raises(ModelError, match=r"slots\.json"):
        OnnxDrafter(tmp_path / "drafter").load()


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
    sure = EmotionReader(EMBEDDING_DIM).eval()
    decoder = CaptionDecoder(len(vocabulary), width=16, layers=1, heads=2).eval()
    torch.nn.init.zeros_(sure.sounds_female.weight)
    torch.nn.init.constant_(sure.sounds_female.bias, odds)
    shutil.copytree(pair / AUDIO_ENCODER_FOLDER, tmp_path / AUDIO_ENCODER_FOLDER)
    export_drafter(
        tmp_path / "sure", name="sure", licence="none", reader=sure, decoder=decoder,
        ood_score=ood_score, temperature=TEMPERATURE, voice=VOICE, vocabulary=vocabulary,
    )  # fmt: skip
    drafter = OnnxDrafter(tmp_path / "sure")
    drafter.load()
    voice = drafter.encode([SAMPLES]).voice
    assert voice is not None
    assert gender_from(voice.femininity) == gender


def test_description_holds_the_gender_phrases(pair: Path, drafter: OnnxDrafter) -> None:
    assert json.loads((pair / "drafter" / "model.json").read_text())["gendered"] == list(GENDERED)
    neutral = ["A speaker sounds sad; the speaker's voice is low and the speaker talks slowly."]
    assert with_gender(neutral, "female", drafter.info.gendered_phrases) == [
        "A woman sounds sad; her voice is low and she talks slowly."
    ]


def test_unnormalised_embedding_does_not_depend_on_the_profile(drafter: OnnxDrafter) -> None:
    """The profile is built from it, and changes only the conditioning."""
    unenrolled, known = (
        drafter.condition(drafter.embed(SAMPLES), some_profile(count)) for count in (0, 30)
    )
    assert unenrolled.voice is not None
    assert known.voice is not None
    np.testing.assert_array_equal(unenrolled.voice.embedding, known.voice.embedding)
    np.testing.assert_array_equal(unenrolled.voice.embedding, embedding_from(drafter)[0])
    assert not np.allclose(unenrolled.decoder_input, known.decoder_input)
    assert not np.allclose(unenrolled.state, known.state)
    assert unenrolled.ood_score == known.ood_score
    again = drafter.condition(known.voice.embedding, some_profile(30))
    np.testing.assert_array_equal(again.decoder_input, known.decoder_input)
    np.testing.assert_array_equal(again.state, known.state)


def test_profile_of_another_encoder_is_refused(drafter: OnnxDrafter) -> None:
    with pytest.raises(ModelError, match="another audio encoder"):
        drafter.condition(
            drafter.embed(SAMPLES),
            SpeakerProfile(3, np.zeros(EMBEDDING_DIM + 1, dtype=np.float32)),
        )


def test_stored_audio_encoder_agrees_with_the_network(pair: Path, tmp_path: Path) -> None:
    """The seed decides the initial weights of a module."""
    torch.manual_seed(5)
    encoder = AudioEncoder(HEAD_DIM).eval()
    export_audio_encoder(tmp_path / AUDIO_ENCODER_FOLDER, encoder)
    import onnxruntime

    frames = encoder_frames(SAMPLES)[None].copy()
    session = onnxruntime.InferenceSession(tmp_path / AUDIO_ENCODER_FOLDER / "audio_encoder.onnx")
    with torch.inference_mode():
        exact = encoder(torch.from_numpy(frames))[0].numpy()
    stored = session.run(None, {"frames": frames})[0][0]
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
def test_projection_id_depends_on_the_projections_numbers(name: str) -> None:
    torch.manual_seed(0)
    reader = EmotionReader(EMBEDDING_DIM)
    before = export.projection_id(reader)
    for weights in reader.readers.parameters():
        torch.nn.init.normal_(weights)
    assert export.projection_id(reader) == before, "what states do not show"
    reader.get_buffer(name).view(-1)[3] += 1
    assert export.projection_id(reader) != before


def test_content_tokens_of_the_verifier_state_attributes(
    pair: Path, vocabulary: Vocabulary
) -> None:
    content = json.loads((pair / "verifier" / "model.json").read_text())["content_tokens"]
    words = {vocabulary.decode([token]) for token in content}
    assert {*LEXICON["emotion"]["sad"]["strong"], "low", "softly"} <= words
    assert not {"The", ".", "speaker", "sounds"} & words


def test_ood_score_is_one_in_domain_larger_outside() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 300))

    def some(n: int, noise: float) -> NDArray[np.float32]:
        rows = rng.normal(size=(n, 40)) @ mixing + noise * rng.normal(size=(n, 300))
        return rows.astype(np.float32)

    ood_score = OodScore.fit(some(900, 1), slice(None))
    assert float(ood_score(some(300, 1)).mean()) == pytest.approx(1, abs=0.15)
    assert float(ood_score(some(300, 3)).mean()) > 2


def test_graph_computes_the_same_ood_score(drafter: OnnxDrafter, ood_score: OodScore) -> None:
    found = drafter.encode([SAMPLES]).ood_score
    assert found == pytest.approx(float(ood_score(embedding_from(drafter))[0]), rel=0.02)
