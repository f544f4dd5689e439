"""Missing, damaged and shared files of a drafter's folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.errors import ModelError

STARTER = Path(ugsd_sdk.__file__).parent / "starter"
ENCODER = "audio_encoder.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drafter with its own audio encoder."""
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips"))
    if not (copy / ENCODER).exists():
        shutil.copy(STARTER.parent / "audio_encoder" / ENCODER, copy)
    return copy


@pytest.fixture
def sharing(folder: Path) -> Path:
    """A drafter whose audio encoder is in the folder beside it."""
    shared = folder.parent / "audio_encoder"
    shared.mkdir()
    (folder / ENCODER).rename(shared / ENCODER)
    return folder


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def describe(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "name", ["model.json", "audio_encoder.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"]
)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        OnnxDrafter(folder).load()


@pytest.mark.parametrize(
    "name", ["audio_encoder.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"]
)
def test_flipped_bit_is_detected(folder: Path, name: str) -> None:
    damage(folder / name)
    with pytest.raises(ModelError, match=f"{name}.*SHA-256"):
        OnnxDrafter(folder).load()


def test_drafters_share_encoder_beside_them(sharing: Path) -> None:
    shutil.copytree(sharing, sharing.parent / "another")
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    states = []
    for folder in (sharing, sharing.parent / "another", STARTER):
        drafter = OnnxDrafter(folder)
        drafter.load()
        states.append(drafter.encode([samples]).state)
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_own_encoder_takes_precedence(sharing: Path) -> None:
    shared = sharing.parent / "audio_encoder" / ENCODER
    shutil.copy(shared, sharing)
    damage(shared)
    own, starter = OnnxDrafter(sharing), OnnxDrafter(STARTER)
    for drafter in (own, starter):
        drafter.load()
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert own.info == starter.info
    np.testing.assert_array_equal(own.encode([samples]).state, starter.encode([samples]).state)


def test_damaged_own_encoder_is_refused_despite_shared_one(sharing: Path) -> None:
    (sharing / ENCODER).write_bytes(b"another encoder")
    with pytest.raises(ModelError, match=f"drafter/{ENCODER}.*SHA-256"):
        OnnxDrafter(sharing).load()


def test_shared_encoder_with_other_hash_is_refused(sharing: Path) -> None:
    damage(sharing.parent / "audio_encoder" / ENCODER)
    with pytest.raises(ModelError, match=f"audio_encoder/{ENCODER}.*SHA-256"):
        OnnxDrafter(sharing).load()


def test_missing_shared_encoder_is_named(sharing: Path) -> None:
    (sharing.parent / "audio_encoder" / ENCODER).unlink()
    with pytest.raises(ModelError, match=f"audio_encoder/{ENCODER}: No such file"):
        OnnxDrafter(sharing).load()


def test_invalid_graph_with_matching_hash_is_reported(folder: Path) -> None:
    (folder / "decoder.onnx").write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    files = json.loads((folder / "model.json").read_text())["files"]
    describe(folder, files={**files, "decoder.onnx": digest})
    with pytest.raises(ModelError, match="ONNX Runtime"):
        OnnxDrafter(folder).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format"),
        ({"state_dim": 0}, "state_dim"),
        ({"surprise": 1}, "surprise"),
        ({"files": {}}, "audio_encoder.onnx"),
    ],
)
def test_wrong_description_is_reported(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    describe(folder, **changes)
    with pytest.raises(ModelError, match=message):
        OnnxDrafter(folder).load()


def test_invalid_vocabulary_is_reported(folder: Path) -> None:
    data = b'{"a": 1}'
    (folder / "vocabulary.json").write_bytes(data)
    files = json.loads((folder / "model.json").read_text())["files"]
    describe(folder, files={**files, "vocabulary.json": hashlib.sha256(data).hexdigest()})
    with pytest.raises(ModelError, match="vocabulary"):
        OnnxDrafter(folder).load()


def test_drafter_must_be_loaded_before_use() -> None:
    drafter = OnnxDrafter("/no/such/folder")
    with pytest.raises(ModelError, match="load"):
        drafter.encode([np.zeros(16_000, dtype=np.float32)])


def test_licence_of_weights_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    drafter = OnnxDrafter(STARTER)
    with caplog.at_level(logging.INFO, logger="ugsd_sdk.drafter.onnx"):
        drafter.load()
        drafter.load()
    assert [record.message for record in caplog.records] == [
        "drafter starter; licence: CC-BY-NC-SA-4.0 AND MIT"
    ]
