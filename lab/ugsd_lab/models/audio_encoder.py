"""The drafter's audio encoder: log-mel and the first layers of a Whisper encoder, pooled.

It maps frames of speech to audio embeddings, so that the exported graph needs no front end in the
host language but one that cuts frames; windows of equal length share its products of matrices.
Follows openai/whisper ``audio.py`` and ``model.py`` (MIT): 25 ms frames every 10 ms, 80 Slaney mel
bands, log10 clamped 8 decades below the window's peak; windows are not padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from ugsd_sdk.speech.windows import encoder_frames

from ugsd_lab.errors import TrainingError

__all__ = ["ENCODER_LAYERS", "MAX_WINDOW_S", "AudioEncoder", "LogMel"]

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
N_MELS = 80
HEAD_DIM = 64
ENCODER_LAYERS = (1, 2)
"""The transformer layers whose outputs are pooled, in increasing order; 0 is the output of the
convolutions. Deeper ones lose the voice (decision 041)."""
MAX_WINDOW_S = 4.5
"""The longest window, in seconds, that an encoder reads."""
MAX_FRAMES = math.ceil(MAX_WINDOW_S * SAMPLE_RATE / HOP / 2)
"""Number of positions in it, after the second convolution halved the frames."""


class _LayerNorm(nn.LayerNorm):
    """The same in operations that ONNX Runtime does not fuse: its fused one is several times
    slower."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


class _Layer(nn.Module):
    """A pre-norm encoder layer with the parameter names of ``transformers``' WhisperEncoder.

    Windows share each product with weights, which costs less than one product per window."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_DIM
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(width, width),
                "k_proj": nn.Linear(width, width, bias=False),
                "v_proj": nn.Linear(width, width),
                "out_proj": nn.Linear(width, width),
            }
        )
        self.self_attn_layer_norm = _LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = _LayerNorm(width)

    def forward(self, x: Tensor, windows: int) -> Tensor:
        """Map (N * T, width) of N windows to the same shape."""
        width = x.shape[1]
        query, key, value = (
            one.view(windows, -1, self.heads, HEAD_DIM).transpose(1, 2)  # (N, H, T, Dh)
            for one in self._projected(self.self_attn_layer_norm(x)).chunk(3, 1)
        )
        mixed = (query @ key.transpose(2, 3) / math.sqrt(HEAD_DIM)).softmax(-1) @ value
        x = x + self.self_attn["out_proj"](mixed.transpose(1, 2).reshape(-1, width))
        fed: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + fed

    def _projected(self, normed: Tensor) -> Tensor:
        """Return queries, keys and values, (N * T, 3 * width), in one product."""
        query, key, value = (
            cast("nn.Linear", self.self_attn[name]) for name in ("q_proj", "k_proj", "v_proj")
        )
        weight = torch.cat([query.weight, key.weight, value.weight])
        bias = torch.cat([query.bias, torch.zeros_like(query.bias), value.bias])
        return functional.linear(normed, weight, bias)


class LogMel(nn.Module):
    """Maps frames (N, F, N_FFT) at 16 kHz to their log-mel (N, F, N_MELS)."""

    def __init__(self) -> None:
        super().__init__()
        from librosa.filters import mel as mel_filters  # nothing of it is compiled

        mel = mel_filters(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS).T
        angle = 2 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) / N_FFT
        window = np.hanning(N_FFT + 1)[:-1]
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window]).T
        both = np.concatenate([mel, mel])  # for the squares of cosines and of sines
        self.register_buffer("mel", torch.tensor(both, dtype=torch.float32))  # (402, 80)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))  # (400, 402)

    def forward(self, frames: Tensor) -> Tensor:
        spectra = frames.reshape(-1, N_FFT) @ self.get_buffer("basis")
        power = (spectra * spectra) @ self.get_buffer("mel")
        log = power.clamp(min=1e-10).log().view(frames.shape[0], -1, N_MELS) / math.log(10)
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8) + 4) / 4


class AudioEncoder(nn.Module):
    """Maps the frames (N, F, N_FFT) of N windows of at most ``MAX_WINDOW_S`` seconds, as
    ``encoder_frames`` of ``ugsd_sdk.speech.windows`` cuts them, to (N, E) audio embeddings: the
    means over time of the outputs of ``layers``, then their standard deviations."""

    def __init__(self, width: int, layers: Sequence[int] = ENCODER_LAYERS) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.conv1 = nn.Conv1d(N_MELS, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(MAX_FRAMES, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(max(layers)))
        self._pooled_layers = tuple(layers)

    @classmethod
    def from_whisper(cls, weights: Path, layers: Sequence[int] = ENCODER_LAYERS) -> AudioEncoder:
        """Load the first layers of a published Whisper encoder of any width from safetensors with
        the parameter names of ``transformers``.

        Raises :class:`TrainingError` if the file is something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{weights} cannot be read as safetensors: {error}") from error
        not_whisper = f"{weights} does not hold the encoder of a Whisper model"
        if "conv1.weight" not in stored:
            raise TrainingError(f"{not_whisper}: it lacks conv1.weight")
        encoder = cls(len(stored["conv1.weight"]), layers)
        own = encoder.state_dict()
        state = {name: value.float() for name, value in stored.items() if name in own}
        missing = sorted(name for name in set(own) - set(state) if not name.startswith("log_mel."))
        if missing:
            raise TrainingError(f"{not_whisper}: it lacks {missing[0]}")
        state["embed_positions.weight"] = state["embed_positions.weight"][:MAX_FRAMES]
        try:
            encoder.load_state_dict(own | state)
        except RuntimeError as error:
            raise TrainingError(f"{not_whisper}: {error}") from error
        return encoder.eval()

    @property
    def embedding_dim(self) -> int:
        """Length of an audio embedding."""
        return 2 * len(self._pooled_layers) * self.conv1.out_channels

    @property
    def deepest_means(self) -> slice:
        """The part of an audio embedding that is the means of the deepest layer."""
        half = self.embedding_dim // 2
        return slice(half - self.conv1.out_channels, half)

    def outputs(self, frames: Tensor) -> list[Tensor]:
        """Map frames (N, F, N_FFT) to the outputs (N, T, width) of the convolutions, with positions
        added, and of each layer."""
        windows = frames.shape[0]
        x = functional.gelu(_convolved(self.log_mel(frames), self.conv1))
        x = functional.gelu(_convolved(x, self.conv2))  # (N, T, width)
        x = x + self.embed_positions.weight[: x.shape[1]]
        outputs = [x.reshape(-1, x.shape[2])]
        for layer in self.layers:
            outputs.append(layer(outputs[-1], windows))
        return [output.view(windows, -1, output.shape[1]) for output in outputs]

    def forward(self, frames: Tensor) -> Tensor:
        outputs = self.outputs(frames)
        return _pooled([outputs[i] for i in self._pooled_layers])

    @torch.inference_mode()
    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the audio embeddings (N, embedding_dim) of frames (N, F, N_FFT)."""
        return self(torch.from_numpy(frames)).numpy()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def layer_embeddings(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (1 + layers, 2 * width) for one window (n,), in one pass: the audio embeddings of
        encoders that pool the output of the convolutions, of the first layer, and so on."""
        outputs = self.outputs(torch.from_numpy(encoder_frames(window).copy())[None])
        return torch.cat([_pooled([output]) for output in outputs]).numpy()


def _convolved(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """Return ``conv``, which has a kernel of 3 and a padding of 1, of x (N, T, C), as one product
    of matrices for all windows."""
    around = functional.pad(x, (0, 0, 1, 1))
    length, stride = x.shape[1], conv.stride[0]
    taps = torch.cat([around[:, tap : length + tap : stride] for tap in range(3)], 2)
    kernel = conv.weight.permute(0, 2, 1).reshape(conv.out_channels, -1)
    out = functional.linear(taps.reshape(-1, taps.shape[2]), kernel, conv.bias)
    return out.view(x.shape[0], -1, conv.out_channels)


def _pooled(outputs: Sequence[Tensor]) -> Tensor:
    """Map layers' outputs (N, T, D) to their means over time, then the standard deviations,
    (N, 2 * layers * D)."""
    means = [output.mean(1) for output in outputs]
    centred = [output - mean[:, None] for output, mean in zip(outputs, means, strict=True)]
    return torch.cat([*means, *((one * one).mean(1).sqrt() for one in centred)], dim=1)
