"""Exports the starter pair to ONNX: int8-stored drafter, float16-stored verifier, KV caches."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_FOLDER, AUDIO_ENCODER_GRAPH

from ugsd_lab.data.captions import GENDERED
from ugsd_lab.data.vocabulary import BOS, EOS, Vocabulary
from ugsd_lab.models.audio_encoder import SAMPLE_RATE, AudioEncoder
from ugsd_lab.models.networks import (
    MAX_TOKENS,
    STATE_DIM,
    DrafterDecoder,
    VerifierModel,
)

__all__ = [
    "AUDIO_ENCODER_FOLDER",
    "OodScore",
    "export_audio_encoder",
    "export_drafter",
    "export_verifier",
    "list_file",
]

OPSET = 17
_COMPONENTS = 64


@dataclass(frozen=True)
class OodScore:
    """The distance of an audio embedding from the subspace of the drafter's training clips: the
    norm of the residual outside their leading principal components, in units of its root mean
    square on the training clips. About 1 in-domain and larger out-of-domain."""

    mean: NDArray[np.float32]
    """(E,)"""
    scale: NDArray[np.float32]
    """(E,)"""
    basis: NDArray[np.float32]
    """(E, K), orthonormal columns."""
    unit: float

    @classmethod
    def fit(cls, embedding: NDArray[np.float32]) -> OodScore:
        """Fit to the (n, E) embeddings of the training clips, n > K."""
        mean, scale = embedding.mean(0), embedding.std(0) + 1e-6
        _, _, components = np.linalg.svd((embedding - mean) / scale, full_matrices=False)
        raw = cls(mean, scale, components[:_COMPONENTS].T.copy(), 1.0)
        return replace(raw, unit=float(np.sqrt((raw(embedding) ** 2).mean())))

    def __call__(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, E) embeddings to (n,) scores."""
        z = (embedding - self.mean) / self.scale
        residual: NDArray[np.float32] = np.linalg.norm(z - (z @ self.basis) @ self.basis.T, axis=1)
        return residual / np.float32(self.unit)


class _ConditioningNetwork(nn.Module):
    def __init__(self, drafter: DrafterDecoder, ood_score: OodScore) -> None:
        super().__init__()
        self.drafter = drafter
        self.unit = ood_score.unit
        self.register_buffer("basis", torch.from_numpy(ood_score.basis))
        self.register_buffer("mean", torch.from_numpy(ood_score.mean))
        self.register_buffer("scale", torch.from_numpy(ood_score.scale))

    def forward(
        self, embedding: Tensor, profile: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        condition, state_base = self.drafter.read(embedding, profile, trust)
        z = (embedding - self.get_buffer("mean")) / self.get_buffer("scale")
        inside = z @ self.get_buffer("basis")
        residual = ((z * z).sum(1) - (inside * inside).sum(1)).clamp(min=0).sqrt()
        femininity = self.drafter.femininity(condition)
        return condition, state_base, residual / self.unit, femininity


class _Decode(nn.Module):
    def __init__(self, drafter: DrafterDecoder) -> None:
        super().__init__()
        self.drafter = drafter

    def forward(
        self, tokens: Tensor, condition: Tensor, state_base: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.drafter.decode(tokens, condition, state_base, past)


def _to_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )


_FLOAT_NAMES = ("basis", "mel", "projection")
_SMALL = 1024
_Stored = tuple[NDArray[Any], NDArray[np.float32] | None]


def _to_int8_stored(source: Path, target: Path) -> None:
    """Store weights as int8 with a scale per output channel; they become float32 when the graph is
    loaded. Arithmetic in int8 would make a caption depend on the processor and on how many tokens
    one step processes, so only the file is small. Analysis matrices stay in float32."""

    def store(values: NDArray[np.float32], channels: int) -> _Stored:
        across = tuple(i for i in range(values.ndim) if i != channels)
        scale = np.abs(values).max(axis=across, keepdims=True) / 127
        scale = np.where(scale == 0, 1, scale).astype(np.float32)
        return np.round(values / scale).astype(np.int8), scale

    _restore_at_load(source, target, store)


def _to_float16_stored(source: Path, target: Path) -> None:
    """Store weights as float16; they become float32 when the graph is loaded. This halves the file,
    and scores do not depend on what else is in a batch."""
    _restore_at_load(source, target, lambda values, channels: (values.astype(np.float16), None))


def _restore_at_load(
    source: Path, target: Path, store: Callable[[NDArray[np.float32], int], _Stored]
) -> None:
    """Replace each large weight by the result of ``store``, which gets the axis of its output
    channels, followed by the Cast (and Mul) that ONNX Runtime folds back into it on loading."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    multiplied = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    restoring, scales = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        name = tensor.name
        if (
            tensor.data_type != TensorProto.FLOAT
            or values.ndim < 2
            or values.size < _SMALL
            or name.rpartition(".")[2] in _FLOAT_NAMES
        ):
            continue
        small, scale = store(values, values.ndim - 1 if name in multiplied else 0)
        tensor.CopyFrom(numpy_helper.from_array(small, f"{name}.stored"))
        whole = name if scale is None else f"{name}.cast"
        restoring.append(
            helper.make_node("Cast", [f"{name}.stored"], [whole], to=TensorProto.FLOAT)
        )
        if scale is not None:
            scales.append(numpy_helper.from_array(scale, f"{name}.per_channel"))
            restoring.append(helper.make_node("Mul", [whole, f"{name}.per_channel"], [name]))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(restoring + nodes)
    model.graph.initializer.extend(scales)
    onnx.save(model, target)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _describe(folder: Path, files: Sequence[Path], fields: dict[str, Any]) -> None:
    fields["files"] = {path.name: sha256(path) for path in files}
    (folder / "model.json").write_text(json.dumps({"format": 1, **fields}, indent=1) + "\n")


def list_file(folder: Path, name: str) -> None:
    """Add the hash of a later file to ``model.json``."""
    description = json.loads((folder / "model.json").read_text())
    description["files"][name] = sha256(folder / name)
    (folder / "model.json").write_text(json.dumps(description, indent=1) + "\n")


def projection_id(drafter: DrafterDecoder) -> str:
    """Return the SHA-256 of the map from audio embeddings to the audio part of states. A verifier
    accepts only the projection that it knows. Drafters with the same audio encoder share it, so one
    verifier serves them all."""
    digest = hashlib.sha256()
    for name in ("population", "projection", "projected_mean"):
        digest.update(drafter.get_buffer(name).numpy().tobytes())
    return digest.hexdigest()


def export_audio_encoder(folder: Path, encoder: AudioEncoder) -> None:
    """Write the audio encoder that the drafters beside ``folder`` share."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary) / AUDIO_ENCODER_GRAPH
        _to_onnx(
            encoder, (torch.randn(1, SAMPLE_RATE) * 0.1,), exact,
            inputs=["samples"], outputs=["evidence"], dynamic={"samples": {1: "n"}},
        )  # fmt: skip
        _to_int8_stored(exact, folder / AUDIO_ENCODER_GRAPH)


def export_drafter(
    folder: Path,
    *,
    name: str,
    licence: str,
    drafter: DrafterDecoder,
    ood_score: OodScore,
    vocabulary: Vocabulary,
) -> None:
    """Write a folder that ``ugsd_sdk.drafter.onnx.OnnxDrafter`` loads; the audio encoder lies
    beside it (:func:`export_audio_encoder`). The rejection predictor is written separately."""
    folder.mkdir(parents=True, exist_ok=True)
    causal = drafter.causal
    embedding = torch.zeros(1, len(ood_score.mean))
    example = (embedding, torch.zeros_like(embedding), torch.zeros(1))
    condition, state_base = drafter.read(*example)
    past = torch.zeros(len(causal.blocks), 2, 1, causal.heads, 3, causal.head_dim)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary)
        _to_onnx(
            _ConditioningNetwork(drafter, ood_score), example, exact / "reader.onnx",
            inputs=["evidence", "habit", "trust"],
            outputs=["condition", "state_base", "novelty", "femininity"], dynamic={},
        )  # fmt: skip
        _to_onnx(
            _Decode(drafter), (torch.tensor([[BOS, 5]]), condition, state_base, past),
            exact / "decoder.onnx",
            inputs=["tokens", "condition", "state_base", "past"],
            outputs=["logits", "states", "present"],
            dynamic={
                "tokens": {1: "T"}, "past": {4: "P"}, "logits": {1: "T"}, "states": {1: "T"},
                "present": {4: "S"},
            },
        )  # fmt: skip
        for graph in ("reader.onnx", "decoder.onnx"):
            _to_int8_stored(exact / graph, folder / graph)
    (folder / "vocabulary.json").write_bytes(vocabulary.pieces_json)
    listed = [folder / file for file in ("reader.onnx", "decoder.onnx", "vocabulary.json")]
    _describe(
        folder,
        [folder.parent / AUDIO_ENCODER_FOLDER / AUDIO_ENCODER_GRAPH, *listed],
        {
            "name": name,
            "licence": licence,
            "projection": projection_id(drafter),
            "bos": BOS,
            "eos": EOS,
            "state_dim": STATE_DIM,
            "condition_dim": condition.shape[1],
            "max_tokens": MAX_TOKENS,
            "sample_rate": SAMPLE_RATE,
            "layers": len(causal.blocks),
            "heads": causal.heads,
            "head_dim": causal.head_dim,
            "gendered": list(GENDERED),
        },
    )


def export_verifier(
    folder: Path,
    *,
    name: str,
    licence: str,
    verifier: VerifierModel,
    drafter: DrafterDecoder,
    vocabulary: Vocabulary,
) -> None:
    """Write a folder that ``ugsd_server.verifier.onnx.OnnxScorer`` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    causal = verifier.causal
    past = torch.zeros(len(causal.blocks), 2, 1, causal.heads, 3, causal.head_dim)
    example = (torch.tensor([[BOS, 5]]), torch.zeros(1, 2, STATE_DIM), torch.zeros(1, 2), past)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary) / "verifier.onnx"
        axes = {0: "N", 1: "T"}
        _to_onnx(
            verifier, example, exact,
            inputs=["tokens", "states", "has_state", "past"], outputs=["logits", "present"],
            dynamic={
                "tokens": axes, "states": axes, "has_state": axes, "logits": axes,
                "past": {2: "N", 4: "P"}, "present": {2: "N", 4: "S"},
            },
        )  # fmt: skip
        _to_float16_stored(exact, folder / "verifier.onnx")
    _describe(
        folder,
        [folder / "verifier.onnx"],
        {
            "name": name,
            "licence": licence,
            "vocabulary": vocabulary.sha256,
            "projection": projection_id(drafter),
            "bos": BOS,
            "eos": EOS,
            "vocabulary_size": len(vocabulary),
            "state_dim": STATE_DIM,
            "max_tokens": MAX_TOKENS,
            "content_tokens": vocabulary.content_tokens(),
            "layers": len(causal.blocks),
            "heads": causal.heads,
            "head_dim": causal.head_dim,
        },
    )
