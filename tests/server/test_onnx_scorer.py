"""The ONNX scorer: cached equals uncached, and errors about model folders name the next step."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ugsd_server
from numpy.typing import NDArray
from ugsd_server.errors import ModelDamaged, ModelError, ModelMissing
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.verifier.onnx import OnnxScorer


@pytest.fixture(params=["tiny", "starter"])
def scorer(request: pytest.FixtureRequest, tiny_model: Path) -> OnnxScorer:
    scorer = OnnxScorer(tiny_model if request.param == "tiny" else STARTER_FOLDER)
    scorer.load()
    return scorer


def _inputs(scorer: OnnxScorer, length: int) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    noise = np.random.default_rng(3)
    info = scorer.info
    tokens = noise.integers(0, info.vocabulary_size, length)
    tokens[0] = info.bos
    states = noise.normal(size=(length, info.input_dim)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return tokens, states, noise.integers(0, 2, length).astype(np.float32)


def test_chunks_crops_and_reruns_equal_one_pass(scorer: OnnxScorer) -> None:
    tokens, states, has = _inputs(scorer, 12)
    whole = scorer.extend(scorer.new_cache(), tokens, states, has)
    assert whole.shape == (12, scorer.info.vocabulary_size)
    cache = scorer.new_cache()
    scorer.extend(cache, tokens[:5], states[:5], has[:5])
    other = (tokens[5:9] + 1) % scorer.info.vocabulary_size
    scorer.extend(cache, other, states[5:9], has[5:9])
    cache.crop(5)
    assert cache.length == 5
    rest = scorer.extend(cache, tokens[5:], states[5:], has[5:])
    assert cache.length == 12
    np.testing.assert_allclose(rest, whole[5:], rtol=1e-4, atol=1e-4)


def test_state_changes_scores_only_if_disclosed(scorer: OnnxScorer) -> None:
    tokens, states, _ = _inputs(scorer, 6)
    none, one = np.zeros(6, dtype=np.float32), np.eye(6, dtype=np.float32)[3]
    hidden = scorer.extend(scorer.new_cache(), tokens, states, none)
    disclosed = scorer.extend(scorer.new_cache(), tokens, states, one)
    zeros = scorer.extend(scorer.new_cache(), tokens, np.zeros_like(states), none)
    np.testing.assert_allclose(hidden[:3], disclosed[:3], rtol=1e-4, atol=1e-4)
    assert not np.allclose(hidden[3], disclosed[3], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(hidden, zeros, rtol=1e-4, atol=1e-4)


def test_longest_caption_is_scored(scorer: OnnxScorer) -> None:
    tokens, states, has = _inputs(scorer, scorer.info.max_tokens)
    assert np.isfinite(scorer.extend(scorer.new_cache(), tokens, states, has)).all()


def test_licence_is_logged_once_per_load(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        OnnxScorer(tiny_model).load()
    assert caplog.messages == ["verifier model tiny; licence: test data"]


def test_use_before_load_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"call load\(\) first"):
        _ = OnnxScorer(tmp_path / "nowhere").info


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def _describe(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


def test_missing_folder_and_graph_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"nowhere.model\.json: No such file"):
        OnnxScorer(tmp_path / "nowhere").load()
    (copy / "verifier.onnx").unlink()
    with pytest.raises(ModelMissing, match=r"verifier\.onnx: No such file"):
        OnnxScorer(copy).load()


def test_flipped_bit_in_graph_is_detected(copy: Path) -> None:
    graph = bytearray((copy / "verifier.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (copy / "verifier.onnx").write_bytes(graph)
    with pytest.raises(ModelDamaged, match="SHA-256 differs"):
        OnnxScorer(copy).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format"),
        ({"eos": None}, "eos"),
        ({"eos": 12}, "not below vocabulary_size"),
        ({"content_tokens": [1]}, "eos cannot be a content token"),
        ({"state_dim": 129}, "state_dim"),
        ({"max_tokens": 257}, "max_tokens"),
        ({"vocabulary": "11"}, "vocabulary"),
        ({"files": {}}, "must list verifier.onnx"),
        ({"files": {"../secret": "11" * 32}}, "files"),
        ({"note": "free text"}, "note"),
        ({"vocabulary_size": 13}, "does not match"),
        ({"layers": 3}, "does not match"),
        ({"head_dim": 5}, "does not match"),
        ({"state_dim": 4}, "does not match"),
        ({"projections": ["22" * 32]}, "does not match"),
        ({"projections": ["22" * 32] * 17}, "projections"),
        ({"projections": ["22"]}, "projections"),
        ({"slots": None}, "slots"),
        ({"slots": {"pace": {"fast": [5], "slow": [6]}}}, "slots"),
        ({"slots": {"emotion": {"sad": [5]}}}, "slots"),
        ({"slots": {"emotion": {"sad": [5], "calm": []}}}, "no token"),
        ({"slots": {"emotion": {"sad": [5, 6], "calm": [6]}}}, "two values of a slot share"),
        ({"slots": {"emotion": {"sad": [5, 5], "calm": [6]}}}, "lists it twice"),
        ({"slots": {"emotion": {"sad": [5], "calm": [8]}}}, "no content token"),
        ({"slots": {"emotion": {"sad": [5], "calm": [1]}}}, "no content token"),
        ({"slots": {"emotion": {"sad": [5], "calm": [-1]}}}, "slots"),
    ],
)
def test_wrong_or_mismatched_description_is_refused(
    copy: Path, changes: dict[str, object], message: str
) -> None:
    _describe(copy, **changes)
    with pytest.raises(ModelDamaged, match=message):
        OnnxScorer(copy).load()


def test_invalid_graph_with_correct_hash_is_refused(copy: Path) -> None:
    (copy / "verifier.onnx").write_bytes(b"not a graph")
    _describe(copy, files={"verifier.onnx": hashlib.sha256(b"not a graph").hexdigest()})
    with pytest.raises(ModelDamaged, match="ONNX Runtime cannot run this graph"):
        OnnxScorer(copy).load()


def test_starter_model_is_inside_the_package() -> None:
    assert Path(ugsd_server.__file__).parent in STARTER_FOLDER.parents
