"""The optional graph of voice vectors."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from ugsd_sdk import Captioner, Profile
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.matching import ProfileMatch
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE

from tests.doubles.speech import recorded_clips

SOURCE = DrafterBundle.of(STARTER).folder
EMBEDDING_DIM, VOICE_DIM = 2048, 4
pytestmark = pytest.mark.skipif(
    not (SOURCE / "gate.json").exists(), reason="needs the starter's files"
)


def voice_graph(scale: float) -> bytes:
    """Return a graph that gives the first numbers of the embedding, scaled."""
    weights = np.zeros((EMBEDDING_DIM, VOICE_DIM), dtype=np.float32)
    np.fill_diagonal(weights, scale)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["embedding", "weights"], ["voice"])],
        "voice",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING_DIM])],
        [helper.make_tensor_value_info("voice", TensorProto.FLOAT, ["N", VOICE_DIM])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def with_voice_graph(folder: Path, *, scale: float = 1.0) -> OnnxDrafter:
    """Return the starter with a graph of voice vectors in the folder of its audio encoder."""
    copy, shared = folder / "drafter", folder / "audio_encoder"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("clips"))
    shutil.copytree(SOURCE.parent / "audio_encoder", shared)
    (copy / "voice.onnx").unlink(missing_ok=True)
    (shared / "voice.onnx").write_bytes(voice_graph(scale))
    description = json.loads((copy / "model.json").read_text())
    digest = hashlib.sha256((shared / "voice.onnx").read_bytes()).hexdigest()
    description["files"]["voice.onnx"] = digest
    (copy / "model.json").write_text(json.dumps(description))
    drafter = OnnxDrafter(copy)
    drafter.load()
    assert drafter.info.voice_encoder.hex() == digest
    return drafter


def test_voice_is_made_of_the_pooled_embedding(tmp_path: Path) -> None:
    drafter = with_voice_graph(tmp_path)
    clip = recorded_clips()[0]
    found = drafter.encode([clip, clip[:20_000]]).voice
    assert found is not None
    assert found.voice is not None
    np.testing.assert_allclose(found.voice, found.embedding[:VOICE_DIM], atol=1e-6)
    assert found.duration_s == pytest.approx((len(clip) + 20_000) / 16_000)
    assert found.femininity is not None


def test_windows_are_at_most_2_25_seconds(tmp_path: Path) -> None:
    drafter = with_voice_graph(tmp_path)
    speech = np.concatenate(recorded_clips())
    for seconds, count in ((1.0, 1), (2.25, 1), (2.26, 2), (9.0, 4)):
        found = drafter.encode([speech[: round(16_000 * seconds)]]).voice
        assert found is not None
        assert found.windows is not None
        assert found.windows.shape == (count, VOICE_DIM)


def without_voice_graph(folder: Path) -> Path:
    """Return a copy of the starter without its graph of voice vectors."""
    copy = folder / "drafter"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("clips", "voice.onnx"))
    shutil.copytree(SOURCE.parent / "audio_encoder", folder / "audio_encoder")
    description = json.loads((copy / "model.json").read_text())
    del description["files"]["voice.onnx"]
    (copy / "model.json").write_text(json.dumps(description))
    return copy


def test_drafter_without_the_graph_compares_no_voices(tmp_path: Path) -> None:
    drafter = OnnxDrafter(without_voice_graph(tmp_path))
    drafter.load()
    assert not drafter.info.voice_encoder
    found = drafter.encode(recorded_clips()[:1]).voice
    assert found is not None
    assert found.voice is None
    assert found.windows is None


def test_clip_of_another_voice_is_conditioned_on_nothing(tmp_path: Path) -> None:
    """A scale at which every clip sounds like another speaker."""
    drafter = with_voice_graph(tmp_path, scale=1e4)
    first, second, *_ = recorded_clips()
    known = drafter.encode([first[:32_000]])
    assert known.profile_match is ProfileMatch.NO_PROFILE
    assert known.voice is not None
    profile = EMPTY_PROFILE.updated(known.voice)
    other = drafter.encode([second[:32_000]], profile)
    assert other.profile_match is ProfileMatch.DIFFERENT_SPEAKER
    np.testing.assert_array_equal(other.state, drafter.encode([second[:32_000]]).state)
    again = drafter.encode([first[:32_000]], profile)
    assert again.profile_match is ProfileMatch.MATCHED
    assert not np.array_equal(again.state, known.state)


def test_profile_made_without_the_graph_begins_again(tmp_path: Path) -> None:
    clips, profile = recorded_clips(), Profile()
    with Captioner(without_voice_graph(tmp_path / "without")) as plain:
        plain.caption(clips[0], 16_000, profile=profile)
    with Captioner(with_voice_graph(tmp_path / "with")) as captioner:
        caption = captioner.caption(clips[1], 16_000, profile=profile)
    assert caption.profile.has_set_aside
    assert profile.num_clips == 1
