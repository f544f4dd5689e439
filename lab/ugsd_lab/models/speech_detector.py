"""The voice activity detector as products of matrices: ``python -m ugsd_lab.models.speech_detector
SOURCE TARGET`` writes it.

``SOURCE`` is ``silero_vad_16k_sequence.onnx`` of PyPI's ``silero-vad`` 6.2.3 (MIT). It convolves
the four frames of each window of 32 ms by themselves, so that a processor mostly waits. Here the
windows are the rows of one matrix, and each convolution is a product with a matrix that has zeros
where a tap does not reach. Weights, inputs and outputs are the same.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.errors import TrainingError

__all__ = ["export_speech_detector"]

Float32 = NDArray[np.float32]

_SOURCE_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
_WINDOW, _FFT, _HOP = 576, 256, 128
_FRAMES = 4
"""Frames of a window. The last one reaches beyond it, where the window is mirrored."""
_STATE = 128
_STRIDES = (1, 2, 2, 1)
"""Of the convolutions, whose kernels have three taps."""


def export_speech_detector(source: Path, target: Path) -> None:
    """Write the graph to ``target``. Raises :class:`TrainingError` if ``source`` is another one."""
    import onnx
    from onnx import numpy_helper

    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SOURCE_SHA256:
        raise TrainingError(
            f"{source} is not silero_vad_16k_sequence.onnx of silero-vad 6.2.3: take that release"
        )
    stored = onnx.load_from_string(data).graph.initializer
    onnx.save(_model({one.name: numpy_helper.to_array(one) for one in stored}), target)


def _model(weights: dict[str, Float32]) -> Any:
    from onnx import TensorProto, helper

    graph = _Graph()
    mirrored = graph.add(
        "Pad", "input", graph.constant(np.array([0, 0, 0, _HOP // 2])), mode="reflect"
    )
    cuts = [graph.cut(mirrored, at, at + _FFT) for at in range(0, _FRAMES * _HOP, _HOP)]
    frames = graph.shaped(graph.add("Concat", *cuts, axis=1), _FFT)
    basis = weights["stft.forward_basis_buffer"][:, 0].T  # (256, 258): cosines, then sines
    spectra = graph.add("MatMul", frames, graph.constant(basis))
    squares = graph.add("Mul", spectra, spectra)
    bins = basis.shape[1] // 2
    halves = graph.cut(squares, 0, bins), graph.cut(squares, bins, 2 * bins)
    x = graph.shaped(graph.add("Sqrt", graph.add("Add", *halves)), _FRAMES * bins)
    length = _FRAMES
    for number, stride in enumerate(_STRIDES):
        kernel, bias = (weights[f"encoder.{number}.{name}"] for name in ("weight", "bias"))
        matrix = _convolution_matrix(kernel, length, stride)
        length = -(-length // stride)
        x = graph.add("Relu", graph.multiplied(x, matrix, np.tile(bias, length)))
    sequence = graph.add("Unsqueeze", x, graph.constant(np.array([1])))  # (n, 1, 128)
    recurrent = [graph.constant(weights[f"onnx::LSTM_{number}"]) for number in (209, 210, 211)]
    graph.add(
        "LSTM", sequence, *recurrent, "", "h", "c",
        outputs=["recurrent", "hn", "cn"], hidden_size=_STATE,
    )  # fmt: skip
    x = graph.add("Relu", graph.shaped("recurrent", _STATE))
    scores = graph.multiplied(x, weights["output.weight"][0], weights["output.bias"])
    graph.add("Sigmoid", graph.add("Squeeze", scores, graph.constant(np.array([1]))),
              outputs=["speech_probs"])  # fmt: skip

    def described(**shapes: Sequence[str | int]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    state = (1, 1, _STATE)
    body = helper.make_graph(
        graph.nodes,
        "silero_vad_16k",
        described(input=("n", _WINDOW), h=state, c=state),
        described(speech_probs=("n",), hn=state, cn=state),
        graph.initializers,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _convolution_matrix(kernel: Float32, length: int, stride: int) -> Float32:
    """Return (length * C, outputs * O), the convolution by ``kernel`` (O, C, 3) of ``length``
    positions between one zero on each side."""
    num_outputs = -(-length // stride)
    matrix = np.zeros((length, kernel.shape[1], num_outputs, kernel.shape[0]), np.float32)
    for output in range(num_outputs):
        for tap in range(3):
            position = output * stride + tap - 1
            if 0 <= position < length:
                matrix[position, :, output] = kernel[:, :, tap].T
    return matrix.reshape(length * kernel.shape[1], -1)


class _Graph:
    """The nodes and the constants of a graph, each named by its number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, *inputs: str, outputs: list[str] | None = None, **fields: Any) -> str:
        from onnx import helper

        outputs = outputs or [f"{kind}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **fields))
        return outputs[0]

    def cut(self, matrix: str, start: int, end: int) -> str:
        bounds = (self.constant(np.array([number])) for number in (start, end, 1))
        return self.add("Slice", matrix, *bounds)

    def shaped(self, tensor: str, columns: int) -> str:
        return self.add("Reshape", tensor, self.constant(np.array([-1, columns])))

    def multiplied(self, rows: str, matrix: Float32, bias: Float32) -> str:
        return self.add("Gemm", rows, self.constant(matrix), self.constant(bias))


if __name__ == "__main__":
    export_speech_detector(*map(Path, sys.argv[1:]))
