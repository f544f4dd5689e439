"""A fake scorer, and a tiny model with the real signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import AskedSlot, Block, ContinueTo
from ugsd_server.verifier import VerifierInfo

from tests.doubles.fake_scorer import FakeScorer
from tests.doubles.lock_holder import hold

__all__ = ["hold"]


@pytest.fixture(scope="session")
def make_scorer() -> Callable[..., FakeScorer]:
    def make(
        *,
        content: frozenset[int] = frozenset(),
        sharpness: float = 2.0,
        projections: int = 1,
        values: Mapping[AskedSlot, Sequence[Sequence[int]]] | None = None,
        max_tokens: int = 20,
    ) -> FakeScorer:
        info = VerifierInfo(
            name="fake",
            licence="none",
            vocabulary=bytes(32),
            projections=tuple(bytes([number]) * 32 for number in range(projections)),
            bos=0,
            eos=1,
            vocabulary_size=12,
            state_dim=3,
            max_tokens=max_tokens,
            content_tokens=content,
            values=values or {},
        )
        return FakeScorer(info, sharpness=sharpness)

    return make


@pytest.fixture(scope="session")
def make_block() -> Callable[..., Block]:
    def make(
        tokens: tuple[int, ...] = (2, 3, 4),
        *,
        caption: int = 0,
        keep: int = 0,
        prefix: tuple[int, ...] = (),
        states: dict[int, tuple[int, ...]] | None = None,
        slot: AskedSlot = AskedSlot.ANY_TOKEN,
        continue_to: ContinueTo = ContinueTo.CAPTION,
        projection: int = 0,
        exponent: int = 0,
    ) -> Block:
        rows = sorted((states or {}).items())
        return Block(
            caption=caption,
            slot=slot,
            tokens=tokens,
            state_positions=tuple(i for i, _ in rows),
            states=b"".join(np.array(row, dtype=np.int8).tobytes() for _, row in rows),
            keep=keep,
            prefix=prefix,
            continue_to=continue_to,
            projection=projection if rows else 0,
            exponent=exponent if rows else 0,
        )

    return make


@pytest.fixture(scope="session")
def key() -> VerifierKey:
    return VerifierKey.generate()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random transformer that has the real signature and reads two projections."""
    folder = tmp_path_factory.mktemp("tiny-model")
    graph = _tiny_graph(layers=2, heads=2, head_dim=4, vocabulary=12, input_dim=6, positions=20)
    (folder / "verifier.onnx").write_bytes(graph)
    description = {
        "format": 2,
        "name": "tiny",
        "licence": "test data",
        "vocabulary": "11" * 32,
        "projections": ["22" * 32, "33" * 32],
        "bos": 0,
        "eos": 1,
        "vocabulary_size": 12,
        "state_dim": 3,
        "max_tokens": 20,
        "content_tokens": [5, 6, 7],
        "slots": {"emotion": {"calm": [5], "sad": [6, 7]}},
        "layers": 2,
        "heads": 2,
        "head_dim": 4,
        "files": {"verifier.onnx": hashlib.sha256(graph).hexdigest()},
    }
    (folder / "model.json").write_text(json.dumps(description))
    return folder


def _tiny_graph(
    *, layers: int, heads: int, head_dim: int, vocabulary: int, input_dim: int, positions: int
) -> bytes:
    width = heads * head_dim
    noise = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "embedding": noise.normal(size=(vocabulary, width)),
        "position": noise.normal(size=(positions, width)),
        "from_state": noise.normal(size=(input_dim, width)),
        "out": noise.normal(size=(width, vocabulary)),
        "scale": np.array(head_dim**-0.5),
        "zero_f": np.array(0.0),
        "hidden": np.array(-1e9),
        "i0": np.array(0),
        "i1": np.array(1),
        "axis0": np.array([0]),
        "axis1": np.array([1]),
        "axis2": np.array([2]),
        "split_heads": np.array([0, 0, heads, head_dim]),
        "join_heads": np.array([0, 0, width]),
        "past_axis": np.array(4),
    }
    nodes = []

    def op(kind: str, *inputs: str, to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to

    op("Shape", "past", to="past_shape")
    op("Gather", "past_shape", "past_axis", to="P")
    op("Shape", "tokens", to="tokens_shape")
    op("Gather", "tokens_shape", "i1", to="T")
    op("Add", "P", "T", to="end")
    op("Range", "P", "end", "i1", to="query_at")
    op("Range", "i0", "end", "i1", to="key_at")
    op("Unsqueeze", "query_at", "axis1", to="query_column")
    op("Unsqueeze", "key_at", "axis0", to="key_row")
    op("LessOrEqual", "key_row", "query_column", to="visible")
    op("Where", "visible", "zero_f", "hidden", to="mask")
    op("Gather", "embedding", "tokens", to="embedded")
    op("Gather", "position", "query_at", to="placed")
    op("Add", "embedded", "placed", to="tokens_placed")
    op("Unsqueeze", "has_state", "axis2", to="has_column")
    op("Mul", "states", "has_column", to="disclosed")
    op("MatMul", "disclosed", "from_state", to="state_in")
    x = op("Add", "tokens_placed", "state_in", to="x")
    present = []
    for layer in range(layers):
        at = f"l{layer}_"
        constants[at + "index"] = np.array(layer)
        op("Gather", "past", at + "index", to=at + "past", axis=0)
        for index, name in enumerate("qkv"):
            constants[at + "w" + name] = noise.normal(size=(width, width)) / width**0.5
            op("MatMul", x, at + "w" + name, to=at + name + "_flat")
            op("Reshape", at + name + "_flat", "split_heads", to=at + name + "_split")
            op("Transpose", at + name + "_split", to=at + name + "_new", perm=[0, 2, 1, 3])
            if name != "q":
                op("Gather", at + "past", f"i{index - 1}", to=at + name + "_old", axis=0)
                op("Concat", at + name + "_old", at + name + "_new", to=at + name, axis=2)
                present.append(op("Unsqueeze", at + name, "axis0", to=at + name + "_kept"))
        op("Transpose", at + "k", to=at + "k_t", perm=[0, 1, 3, 2])
        op("MatMul", at + "q_new", at + "k_t", to=at + "raw")
        op("Mul", at + "raw", "scale", to=at + "scaled")
        op("Add", at + "scaled", "mask", to=at + "masked")
        op("Softmax", at + "masked", to=at + "attention", axis=-1)
        op("MatMul", at + "attention", at + "v", to=at + "mixed")
        op("Transpose", at + "mixed", to=at + "mixed_t", perm=[0, 2, 1, 3])
        op("Reshape", at + "mixed_t", "join_heads", to=at + "joined")
        x = op("Add", x, at + "joined", to=at + "x")
    op("Concat", *present, to="kept", axis=0)  # (2L, N, H, P+T, Dh)
    op("Shape", "kept", to="kept_now")
    constants["tail"] = np.array([1, 2, 3, 4])
    constants["head"] = np.array([layers, 2])
    op("Gather", "kept_now", "tail", to="kept_tail")
    op("Concat", "head", "kept_tail", to="present_shape", axis=0)
    op("Reshape", "kept", "present_shape", to="present")
    op("MatMul", x, "out", to="logits")

    def tensor(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, list(shape))

    single = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            tensor("tokens", TensorProto.INT64, "N", "T"),
            tensor("states", single, "N", "T", input_dim),
            tensor("has_state", single, "N", "T"),
            tensor("past", single, layers, 2, "N", heads, "P", head_dim),
        ],
        [
            tensor("logits", single, "N", "T", vocabulary),
            tensor("present", single, layers, 2, "N", heads, "S", head_dim),
        ],
        [
            numpy_helper.from_array(
                a.astype(np.float32) if a.dtype.kind == "f" else a.astype(np.int64), name
            )
            for name, a in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
