"""A drafter's folder that is not what it should be."""

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips"))
    return copy


def describe(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "name", ["model.json", "ears.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        OnnxDrafter(folder).load()


@pytest.mark.parametrize("name", ["ears.onnx", "reader.onnx", "decoder.onnx", "vocabulary.json"])
def test_a_flipped_bit_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}.*SHA-256"):
        OnnxDrafter(folder).load()


def test_a_graph_that_is_none_is_told_even_with_the_right_hash(folder: Path) -> None:
    (folder / "decoder.onnx").write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    files = json.loads((folder / "model.json").read_text())["files"]
    describe(folder, files={**files, "decoder.onnx": digest})
    with pytest.raises(ModelError, match="ONNX Runtime"):
        OnnxDrafter(folder).load()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 2}, "format"),
        ({"state_dim": 0}, "state_dim"),
        ({"surprise": 1}, "surprise"),
        ({"files": {}}, "ears.onnx"),
    ],
)
def test_a_description_that_is_wrong_is_told(
    folder: Path, changes: dict[str, object], told: str
) -> None:
    describe(folder, **changes)
    with pytest.raises(ModelError, match=told):
        OnnxDrafter(folder).load()


def test_a_vocabulary_that_is_no_list_is_told(folder: Path) -> None:
    data = b'{"a": 1}'
    (folder / "vocabulary.json").write_bytes(data)
    files = json.loads((folder / "model.json").read_text())["files"]
    describe(folder, files={**files, "vocabulary.json": hashlib.sha256(data).hexdigest()})
    with pytest.raises(ModelError, match="vocabulary"):
        OnnxDrafter(folder).load()


def test_nothing_is_read_before_load() -> None:
    drafter = OnnxDrafter("/no/such/folder")
    with pytest.raises(ModelError, match="load"):
        drafter.encode(np.zeros(16_000, dtype=np.float32))


def test_the_licence_of_the_weights_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    drafter = OnnxDrafter(STARTER)
    with caplog.at_level(logging.INFO, logger="ugsd_sdk.drafter.onnx"):
        drafter.load()
        drafter.load()
    assert [record.message for record in caplog.records] == [
        "drafter starter; licence: CC-BY-NC-SA-4.0"
    ]
