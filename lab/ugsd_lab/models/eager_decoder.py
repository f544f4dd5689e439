"""An exported decoder in PyTorch eager: the same weights, for comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ugsd_lab.models.networks import MAX_TOKENS, CaptionDecoder

__all__ = ["EagerDecoder", "TunedEagerDecoder", "load_decoder"]


def load_decoder(path: Path) -> CaptionDecoder:
    """Return the network of ``decoder.onnx`` with the weights that ONNX Runtime computes with."""
    weights = _weights(path)
    model = CaptionDecoder(len(weights["causal.tokens.weight"]))
    model.load_state_dict(weights)
    return model.eval()


def _weights(path: Path) -> dict[str, Tensor]:
    """Read what :mod:`ugsd_lab.models.export` wrote. The exporter names the weight of a product
    after nothing, so the name of its node says which layer it is."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            stored, scale = (arrays.pop(name) for name in node.input)
            shape = [1] * stored.ndim
            shape[node.attribute[0].i] = -1
            arrays[node.output[0]] = stored.astype(np.float32) * scale.reshape(shape)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            layer = ".".join(node.name.strip("/").split("/")[:-1])
            weight = arrays.pop(node.input[1])
            if layer:  # the last product is by the embeddings of tokens, which are there
                arrays[f"{layer}.weight"] = weight.T
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


class EagerDecoder:
    """Runs the network as it is trained, with its cache of keys and values."""

    def __init__(self, model: CaptionDecoder) -> None:
        self._model = model

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[np.float32]]:
        """Map the inputs of ``decoder.onnx`` to its outputs."""
        names = ("tokens", "emotion", "plan", "past")
        logits, present = self._model(*(torch.from_numpy(feeds[name]) for name in names))
        return [logits.numpy(), present.numpy()]


class TunedEagerDecoder:
    """The same in fewer operations: one token a step, keys and values written in place, fused
    attention, and the condition computed once per caption. It serves one caption at a time."""

    def __init__(self, model: CaptionDecoder) -> None:
        causal = model.causal
        self._model = model
        self._condition = torch.zeros(0)
        width = causal.heads * causal.head_dim
        self._width = (width,)
        self._split = (1, 1, 3, causal.heads, causal.head_dim)
        self._cache = torch.zeros(
            len(causal.blocks), 2, 1, causal.heads, MAX_TOKENS + 1, causal.head_dim
        )

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[np.float32]]:
        """Map the inputs of ``decoder.onnx``, with one token, to its outputs. ``past`` must be the
        part of the last output that still counts, which is not copied."""
        causal = self._model.causal
        before = feeds["past"].shape[4]
        if not before:
            inputs = [torch.from_numpy(feeds[name]) for name in ("emotion", "plan")]
            self._condition = self._model.condition(torch.cat(inputs, 1))[:, None]
        tokens = torch.from_numpy(feeds["tokens"])
        x = functional.embedding(tokens, causal.tokens.weight) + self._condition
        x = x + causal.positions.weight[before]
        block: Any
        for block, cache in zip(causal.blocks, self._cache, strict=True):
            x = x + self._attention(block, cache, x, before)
            normed = self._normed(block.norm2, x)
            raised = functional.gelu(functional.linear(normed, block.up.weight, block.up.bias))
            x = x + functional.linear(raised, block.down.weight, block.down.bias)
        logits = functional.linear(self._normed(causal.norm, x), causal.tokens.weight)
        return [logits.numpy(), self._cache[:, :, :, :, : before + 1].numpy()]

    def _attention(self, block: Any, cache: Tensor, x: Tensor, before: int) -> Tensor:
        normed = self._normed(block.norm1, x)
        qkv = functional.linear(normed, block.qkv.weight, block.qkv.bias).view(self._split)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (1, H, 1, Dh)
        cache[0, :, :, before : before + 1] = key
        cache[1, :, :, before : before + 1] = value
        mixed = functional.scaled_dot_product_attention(
            query, cache[0, :, :, : before + 1], cache[1, :, :, : before + 1]
        )
        flat = mixed.transpose(1, 2).reshape(x.shape)
        return functional.linear(flat, block.out.weight, block.out.bias)

    def _normed(self, norm: Any, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self._width, norm.weight, norm.bias)
