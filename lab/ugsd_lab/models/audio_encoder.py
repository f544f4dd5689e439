"""The drafter's audio encoder: log-mel and the first layers of a Whisper encoder, pooled.

It maps a window of speech to one audio embedding, so that the exported graph needs no front end in
the host language. Follows openai/whisper ``audio.py`` and ``model.py`` (MIT): 25 ms frames every
10 ms, 80 Slaney mel bands, log10 clamped 8 decades below the window's peak; windows are not padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

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


class _Layer(nn.Module):
    """A pre-norm encoder layer with the parameter names of ``transformers``' WhisperEncoder."""

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
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        normed = self.self_attn_layer_norm(x)
        query, key, value = (
            self.self_attn[name](normed).view(frames, self.heads, -1).unbind(1)  # H of (T, Dh)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        # One head after another: all scores at once would take several times the memory.
        mixed = [
            (q @ k.T / math.sqrt(HEAD_DIM)).softmax(-1) @ v
            for q, k, v in zip(query, key, value, strict=True)
        ]
        x = x + self.self_attn["out_proj"](torch.cat(mixed, dim=1)[None])
        fed: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + fed


class LogMel(nn.Module):
    """Maps (1, n) samples at 16 kHz to (1, N_MELS, n // HOP) log-mel."""

    def __init__(self) -> None:
        super().__init__()
        from librosa.filters import mel as mel_filters  # nothing of it is compiled

        mel = mel_filters(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
        angle = 2 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) / N_FFT
        window = np.hanning(N_FFT + 1)[:-1]
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        self.register_buffer("mel", torch.tensor(mel, dtype=torch.float32))  # (80, 201)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32)[:, None])

    def forward(self, samples: Tensor) -> Tensor:
        padded = functional.pad(samples[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self.get_buffer("basis"), stride=HOP)
        real, imaginary = spectrum[:, :, :-1].chunk(2, dim=1)
        power = self.get_buffer("mel") @ (real**2 + imaginary**2)
        log = power.clamp(min=1e-10).log() / math.log(10)
        return (torch.maximum(log, log.max() - 8) + 4) / 4


class AudioEncoder(nn.Module):
    """Maps (1, n) samples at 16 kHz in [-1, 1], of at most ``MAX_WINDOW_S`` seconds, to (1, E)
    audio embeddings: the means over time of the outputs of ``layers``, then their standard
    deviations."""

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

    def outputs(self, samples: Tensor) -> list[Tensor]:
        """Map (1, n) samples to the outputs (1, T, width) of the convolutions, with positions
        added, and of each layer."""
        x = functional.gelu(self.conv1(self.log_mel(samples)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)  # (1, T, width)
        x = x + self.embed_positions.weight[: x.shape[1]]
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs

    def forward(self, samples: Tensor) -> Tensor:
        outputs = self.outputs(samples)
        return _pooled(torch.cat([outputs[i] for i in self._pooled_layers], 2))

    @torch.inference_mode()
    def embed(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the audio embedding (embedding_dim,) of one window (n,)."""
        return self(torch.from_numpy(window)[None])[0].numpy()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def layer_embeddings(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (1 + layers, 2 * width) for one window (n,), in one pass: the audio embeddings of
        encoders that pool the output of the convolutions, of the first layer, and so on."""
        outputs = self.outputs(torch.from_numpy(window)[None])
        return torch.cat([_pooled(output) for output in outputs]).numpy()


def _pooled(x: Tensor) -> Tensor:
    """Map (1, T, D) to means and standard deviations over time, (1, 2 * D)."""
    mean = x.mean(1, keepdim=True)
    return torch.cat([mean[:, 0], ((x - mean) ** 2).mean(1).sqrt()], dim=1)
