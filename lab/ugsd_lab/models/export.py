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
from ugsd_sdk.attributes.plan import PLAN_DIM
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_FOLDER, AUDIO_ENCODER_GRAPH, VOICE_GRAPH

from ugsd_lab.data.lexicon import GENDERED
from ugsd_lab.data.vocabulary import BOS, EOS, Vocabulary
from ugsd_lab.models.audio_encoder import N_FFT, SAMPLE_RATE, AudioEncoder
from ugsd_lab.models.networks import (
    EMOTION_COUNT,
    MAX_TOKENS,
    STATE_DIM,
    CaptionDecoder,
    EmotionReader,
    VerifierModel,
)
from ugsd_lab.models.voice import VoiceProjection

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
    square on the training clips. About 1 in-domain and larger out-of-domain.

    It reads the means of the deepest layer alone, which tell an unknown language best."""

    columns: slice
    """The part of the embedding that is read, C numbers."""
    mean: NDArray[np.float32]
    """(C,)"""
    scale: NDArray[np.float32]
    """(C,)"""
    basis: NDArray[np.float32]
    """(C, K), orthonormal columns."""
    unit: float

    @classmethod
    def fit(cls, embedding: NDArray[np.float32], columns: slice) -> OodScore:
        """Fit to ``columns`` of the (n, E) embeddings of the training clips, n > K."""
        read = embedding[:, columns]
        mean, scale = read.mean(0), read.std(0) + 1e-6
        _, _, components = np.linalg.svd((read - mean) / scale, full_matrices=False)
        raw = cls(columns, mean, scale, components[:_COMPONENTS].T.copy(), 1.0)
        return replace(raw, unit=float(np.sqrt((raw(embedding) ** 2).mean())))

    def __call__(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, E) embeddings to (n,) scores."""
        z = (embedding[:, self.columns] - self.mean) / self.scale
        residual: NDArray[np.float32] = np.linalg.norm(z - (z @ self.basis) @ self.basis.T, axis=1)
        return residual / np.float32(self.unit)


class _ConditioningNetwork(nn.Module):
    """The reader, the OOD score, and the temperature of the emotion's probabilities."""

    def __init__(
        self, reader: EmotionReader, ood_score: OodScore, level: float, slope: float
    ) -> None:
        super().__init__()
        self.reader = reader
        self.unit = ood_score.unit
        self.columns = ood_score.columns
        self.level, self.slope = level, slope
        self.register_buffer("basis", torch.from_numpy(ood_score.basis))
        self.register_buffer("mean", torch.from_numpy(ood_score.mean))
        self.register_buffer("scale", torch.from_numpy(ood_score.scale))

    def forward(
        self, embedding: Tensor, profile: Tensor, profile_weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        reading = self.reader(embedding, profile, profile_weight)
        read = embedding[:, self.columns]
        z = (read - self.get_buffer("mean")) / self.get_buffer("scale")
        inside = z @ self.get_buffer("basis")
        residual = ((z * z).sum(1) - (inside * inside).sum(1)).clamp(min=0).sqrt()
        ood_score = residual / self.unit
        temperature = (self.level + self.slope * ood_score.log1p()).exp()[:, None]
        emotion = (reading.emotion.mean(1) / temperature).log_softmax(-1)
        return emotion, reading.state, ood_score, reading.femininity, reading.strength


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
_Restore = tuple[list[Any], list[Any]]
"""Nodes and initializers that turn a stored weight into a float32 one."""


def _to_int8_stored(source: Path, target: Path) -> None:
    """Store weights as int8 with a scale per output channel; they become float32 when the graph is
    loaded. Arithmetic in int8 would make a caption depend on the processor and on how many tokens
    one step processes, so only the file is small. Analysis matrices stay in float32."""
    from onnx import helper, numpy_helper

    def restore(name: str, values: NDArray[np.float32], channels: int) -> _Restore:
        across = tuple(i for i in range(values.ndim) if i != channels)
        scale = np.abs(values).max(axis=across) / 127
        scale = np.where(scale == 0, 1, scale).astype(np.float32)
        stored = np.round(values / np.expand_dims(scale, across)).astype(np.int8)
        names = [f"{name}.stored", f"{name}.scale"]
        node = helper.make_node("DequantizeLinear", names, [name], axis=channels)
        arrays = zip((stored, scale), names, strict=True)
        return [node], [numpy_helper.from_array(*one) for one in arrays]

    _restore_at_load(source, target, restore)


def _to_float16_stored(source: Path, target: Path) -> None:
    """Store weights as float16; they become float32 when the graph is loaded. This halves the file,
    and scores do not depend on what else is in a batch."""
    from onnx import TensorProto, helper, numpy_helper

    def restore(name: str, values: NDArray[np.float32], _: int) -> _Restore:
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}.stored")
        return [helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)], [stored]

    _restore_at_load(source, target, restore)


def _restore_at_load(
    source: Path,
    target: Path,
    restore: Callable[[str, NDArray[np.float32], int], _Restore],
) -> None:
    """Replace each large weight by what ``restore`` makes of its name, its values and the axis of
    its output channels, which ONNX Runtime folds back into it on loading."""
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(source)
    multiplied = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    nodes: list[Any] = []
    initializers: list[Any] = []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        if (
            tensor.data_type != TensorProto.FLOAT
            or values.ndim < 2
            or values.size < _SMALL
            or name.rpartition(".")[2] in _FLOAT_NAMES
        ):
            initializers.append(tensor)
            continue
        restoring, stored = restore(name, values, values.ndim - 1 if name in multiplied else 0)
        nodes += restoring
        initializers += stored
    nodes += model.graph.node
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(initializers)
    onnx.save(model, target)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _describe(folder: Path, files: Sequence[Path], fields: dict[str, Any]) -> None:
    fields["files"] = {path.name: sha256(path) for path in files}
    (folder / "model.json").write_text(json.dumps(fields, indent=1) + "\n")


def list_file(folder: Path, name: str) -> None:
    """Add the hash of a later file to ``model.json``."""
    description = json.loads((folder / "model.json").read_text())
    description["files"][name] = sha256(folder / name)
    (folder / "model.json").write_text(json.dumps(description, indent=1) + "\n")


def projection_id(reader: EmotionReader) -> str:
    """Return the SHA-256 of the map from audio embeddings to states. A verifier accepts only the
    projections that it was trained on."""
    digest = hashlib.sha256()
    for name in ("population", "projection", "projected_mean"):
        digest.update(reader.get_buffer(name).numpy().tobytes())
    return digest.hexdigest()


def export_audio_encoder(folder: Path, encoder: AudioEncoder) -> None:
    """Write the audio encoder that the drafters beside ``folder`` share."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary) / AUDIO_ENCODER_GRAPH
        _to_onnx(
            encoder, (torch.randn(2, 50, N_FFT) * 0.1,), exact,
            inputs=["frames"], outputs=["embedding"],
            dynamic={"frames": {0: "N", 1: "F"}, "embedding": {0: "N"}},
        )  # fmt: skip
        _to_int8_stored(exact, folder / AUDIO_ENCODER_GRAPH)


def _export_voice(folder: Path, voice: VoiceProjection) -> None:
    _to_onnx(
        voice, (torch.zeros(1, len(voice.get_buffer("mean"))),), folder / VOICE_GRAPH,
        inputs=["embedding"], outputs=["voice"], dynamic={"embedding": {0: "N"}, "voice": {0: "N"}},
    )  # fmt: skip


def export_drafter(
    folder: Path,
    *,
    name: str,
    licence: str,
    reader: EmotionReader,
    decoder: CaptionDecoder,
    ood_score: OodScore,
    temperature: tuple[float, float],
    voice: VoiceProjection,
    vocabulary: Vocabulary,
) -> None:
    """Write a folder that ``ugsd_sdk.drafter.onnx.OnnxDrafter`` loads; the audio encoder lies
    beside it (:func:`export_audio_encoder`). The rejection predictor is written separately.
    ``temperature`` is its level and its growth with the OOD score."""
    folder.mkdir(parents=True, exist_ok=True)
    causal = decoder.causal
    embedding = torch.zeros(1, len(reader.get_buffer("mean")))
    example = (embedding, torch.zeros_like(embedding), torch.zeros(1))
    past = torch.zeros(len(causal.blocks), 2, 1, causal.heads, 3, causal.head_dim)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary)
        _to_onnx(
            _ConditioningNetwork(reader, ood_score, *temperature), example, exact / "reader.onnx",
            inputs=["embedding", "profile", "profile_weight"],
            outputs=["emotion", "state", "ood_score", "femininity", "strength"], dynamic={},
        )  # fmt: skip
        _to_onnx(
            decoder,
            (
                torch.tensor([[BOS, 5]]),
                torch.zeros(1, EMOTION_COUNT),
                torch.zeros(1, PLAN_DIM),
                past,
            ),
            exact / "decoder.onnx",
            inputs=["tokens", "emotion", "plan", "past"],
            outputs=["logits", "present"],
            dynamic={"tokens": {1: "T"}, "past": {4: "P"}, "logits": {1: "T"}, "present": {4: "S"}},
        )
        for graph in ("reader.onnx", "decoder.onnx"):
            _to_int8_stored(exact / graph, folder / graph)
    _export_voice(folder, voice)
    vocabulary.save(folder)
    names = ("reader.onnx", "decoder.onnx", "vocabulary.json", "slots.json")
    _describe(
        folder,
        [
            folder.parent / AUDIO_ENCODER_FOLDER / AUDIO_ENCODER_GRAPH,
            folder / VOICE_GRAPH,
            *(folder / file for file in names),
        ],
        {
            "format": 2,
            "name": name,
            "licence": licence,
            "projection": projection_id(reader),
            "bos": BOS,
            "eos": EOS,
            "state_dim": STATE_DIM,
            "emotion_dim": EMOTION_COUNT,
            "plan_dim": PLAN_DIM,
            "max_tokens": MAX_TOKENS,
            "sample_rate": SAMPLE_RATE,
            "layers": len(causal.blocks),
            "heads": causal.heads,
            "head_dim": causal.head_dim,
            "gendered": list(GENDERED),
        },
    )  # fmt: skip


def export_verifier(
    folder: Path,
    *,
    name: str,
    licence: str,
    verifier: VerifierModel,
    readers: Sequence[EmotionReader],
    vocabulary: Vocabulary,
) -> None:
    """Write a folder that ``ugsd_server.verifier.onnx.OnnxScorer`` loads. ``readers`` have the
    projections that it reads, in the order of its inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    causal = verifier.causal
    past = torch.zeros(len(causal.blocks), 2, 1, causal.heads, 3, causal.head_dim)
    states = torch.zeros(1, 2, len(readers) * STATE_DIM)
    example = (torch.tensor([[BOS, 5]]), states, torch.zeros(1, 2), past)
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
            "format": 2,
            "name": name,
            "licence": licence,
            "vocabulary": vocabulary.sha256,
            "projections": list(map(projection_id, readers)),
            "bos": BOS,
            "eos": EOS,
            "vocabulary_size": len(vocabulary),
            "state_dim": STATE_DIM,
            "max_tokens": MAX_TOKENS,
            "content_tokens": vocabulary.content_tokens(),
            "slots": {"emotion": vocabulary.stating_tokens()},
            "layers": len(causal.blocks),
            "heads": causal.heads,
            "head_dim": causal.head_dim,
        },
    )
