"""The voice activity detector's graph, whose convolutions are products of matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.speech_detector import _convolution_matrix, export_speech_detector
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.speech.voice_activity import DETECTOR_FILE, VoiceActivityDetector

OF_THE_SOURCE = [
    0.01809, 0.02468, 0.10435, 0.66095, 0.77515, 0.98908, 0.99496, 0.99205, 0.99183, 0.99207,
    0.98482, 0.99726, 0.99668, 0.9917, 0.99853, 0.99725, 0.9968, 0.99931, 0.99907, 0.99966,
    0.99995, 0.99993, 0.99998, 0.99993, 0.99991, 0.99995, 0.99998, 0.99988, 0.99996, 0.99993,
    0.99992, 0.99995, 0.99995, 0.99995, 0.99999, 0.99995, 0.99993, 0.99982, 0.99989, 0.99994,
    0.99992, 0.99977, 0.99954, 0.99935, 0.99899, 0.98775, 0.64549,
]  # fmt: skip
"""What PyPI's silero_vad_16k_sequence.onnx makes of a bundled clip."""


def test_detector_agrees_with_its_source() -> None:
    clip = read_clip(STARTER_DRAFTER / "clips" / "16a04Ab.opus")

    probabilities = VoiceActivityDetector().probabilities(clip)

    assert np.allclose(probabilities, OF_THE_SOURCE, atol=2e-5)


@pytest.mark.parametrize("length", [1, 2, 4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_product_with_the_matrix_is_the_convolution(length: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((6, 3, 3)).astype(np.float32)
    x = rng.standard_normal((2, length, 3)).astype(np.float32)

    product = x.reshape(2, -1) @ _convolution_matrix(kernel, length, stride)

    convolved = functional.conv1d(
        torch.from_numpy(x).transpose(1, 2), torch.from_numpy(kernel), stride=stride, padding=1
    )
    assert np.allclose(product, convolved.transpose(1, 2).reshape(2, -1), atol=1e-5)


def test_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"silero-vad 6\.2\.3"):
        export_speech_detector(DETECTOR_FILE, tmp_path / "detector.onnx")
