"""The drafter's audio encoder: log-mel and the first layers of Whisper base's encoder, pooled.

Windows of speech go in and one audio embedding comes out, so that the exported graph needs no front
end in the host language. Follows openai/whisper ``audio.py`` and ``model.py`` (MIT): 25 ms frames
every 10 ms, 80 Slaney mel bands, log10 clamped 8 decades below the peak; nothing is padded to 30 s.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from ugsd_sdk.speech.windows import WINDOW_S, encoder_windows

from ugsd_lab.errors import TrainingError

__all__ = ["EMBEDDING_DIM", "ENCODER_LAYERS", "AudioEncoder", "extract"]

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
N_MELS = 80
WIDTH = 512
HEADS = 8
MAX_FRAMES = round(WINDOW_S * SAMPLE_RATE) // (2 * HOP)
"""Outputs of the encoder for one window; it has as many positions."""
ENCODER_LAYERS = 2
"""Transformer layers used: deeper ones lose the voice (docs/decisions)."""
EMBEDDING_DIM = 2 * WIDTH


class _Layer(nn.Module):
    """A pre-norm encoder layer with the parameter names of ``transformers``' WhisperEncoder."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(WIDTH, WIDTH),
                "k_proj": nn.Linear(WIDTH, WIDTH, bias=False),
                "v_proj": nn.Linear(WIDTH, WIDTH),
                "out_proj": nn.Linear(WIDTH, WIDTH),
            }
        )
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x (K, T, D): K windows, each attended to by itself."""
        windows, frames, _ = x.shape
        normed = self.self_attn_layer_norm(x)
        query, key, value = (
            self.self_attn[name](normed).view(windows, frames, HEADS, -1).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )  # (K, H, T, Dh)
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(windows, frames, WIDTH)
        x = x + self.self_attn["out_proj"](mixed)
        fed: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + fed


class AudioEncoder(nn.Module):
    """(K, m) windows of one clip's speech at 16 kHz to its (1, EMBEDDING_DIM) embedding: mean and
    standard deviation, over the time of all windows, of the last kept layer's output."""

    def __init__(self) -> None:
        super().__init__()
        import librosa

        mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
        angle = 2 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) / N_FFT
        window = np.hanning(N_FFT + 1)[:-1]
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        self.register_buffer("mel", torch.tensor(mel, dtype=torch.float32))  # (80, 201)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32)[:, None])
        self.conv1 = nn.Conv1d(N_MELS, WIDTH, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(MAX_FRAMES, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(ENCODER_LAYERS))

    @classmethod
    def from_whisper(cls, weights: Path) -> AudioEncoder:
        """Return an encoder with the published weights, a safetensors file in the names of
        ``transformers``. Raises :class:`TrainingError` if the file is not that.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        encoder = cls()
        own = encoder.state_dict()
        try:
            state = {k: v.float() for k, v in load_file(weights).items() if k in own}
            positions = "embed_positions.weight"
            state[positions] = state[positions][:MAX_FRAMES]
        except (OSError, SafetensorError, KeyError) as error:
            raise TrainingError(f"{weights} cannot be read as safetensors: {error}") from error
        missing = sorted(set(own) - set(state) - {"mel", "basis"})
        if missing:
            raise TrainingError(
                f"{weights} does not hold the encoder of Whisper base: it lacks {missing[0]}"
            )
        try:
            encoder.load_state_dict(own | state)
        except RuntimeError as error:
            raise TrainingError(
                f"{weights} does not hold the encoder of Whisper base: {error}"
            ) from error
        return encoder.eval()

    def log_mel(self, samples: Tensor) -> Tensor:
        """(K, m) samples to (K, 80, m // 160) log-mel, clamped by the loudest of all windows."""
        padded = functional.pad(samples[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self.get_buffer("basis"), stride=HOP)
        real, imaginary = spectrum[:, :, :-1].chunk(2, dim=1)
        power = self.get_buffer("mel") @ (real**2 + imaginary**2)
        log = power.clamp(min=1e-10).log() / math.log(10)
        return (torch.maximum(log, log.max() - 8) + 4) / 4

    def forward(self, samples: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(self.log_mel(samples)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)  # (K, T, D)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        x = x.reshape(1, -1, WIDTH)
        mean = x.mean(1, keepdim=True)
        return torch.cat([mean[:, 0], ((x - mean) ** 2).mean(1).sqrt()], dim=1)


@torch.inference_mode()
def extract(encoder: AudioEncoder, speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) samples of speech to their (EMBEDDING_DIM,) embedding."""
    windows = torch.from_numpy(encoder_windows(speech))
    return encoder(windows)[0].numpy().astype(np.float32)  # type: ignore[no-any-return]
