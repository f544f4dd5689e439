"""The drafter's audio encoder: log-mel and the first layers of Whisper tiny.en's encoder, pooled.

It maps samples to one audio embedding, so that the exported graph needs no front end in the host
language. Follows openai/whisper ``audio.py`` and ``model.py`` (MIT): 25 ms windows every 10 ms, 80
Slaney mel bands, log10 clamped 8 decades below the clip's peak; clips are not padded.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ugsd_lab.errors import TrainingError

__all__ = ["EMBEDDING_DIM", "ENCODER_LAYERS", "AudioEncoder", "extract"]

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
N_MELS = 80
WIDTH = 384
HEADS = 6
MAX_FRAMES = 1500
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
        frames = x.shape[1]
        normed = self.self_attn_layer_norm(x)
        query, key, value = (
            self.self_attn[name](normed).view(frames, HEADS, -1).unbind(1)  # H of (T, Dh)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        # One head after another: all scores of a 30 s clip at once would take 54 MB, twice.
        mixed = [
            (q @ k.T / math.sqrt(WIDTH // HEADS)).softmax(-1) @ v
            for q, k, v in zip(query, key, value, strict=True)
        ]
        x = x + self.self_attn["out_proj"](torch.cat(mixed, dim=1)[None])
        fed: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + fed


class AudioEncoder(nn.Module):
    """Maps (1, n) samples at 16 kHz in [-1, 1] to (1, EMBEDDING_DIM) audio embeddings: mean and
    standard deviation over time of the last used layer's output."""

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
        """Load the published weights from safetensors with the parameter names of ``transformers``.

        Raises :class:`TrainingError` if the file is something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        encoder = cls()
        own = encoder.state_dict()
        try:
            state = {k: v.float() for k, v in load_file(weights).items() if k in own}
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{weights} cannot be read as safetensors: {error}") from error
        missing = sorted(set(own) - set(state) - {"mel", "basis"})
        if missing:
            raise TrainingError(
                f"{weights} does not hold the encoder of Whisper tiny.en: it lacks {missing[0]}"
            )
        try:
            encoder.load_state_dict(own | state)
        except RuntimeError as error:
            raise TrainingError(
                f"{weights} does not hold the encoder of Whisper tiny.en: {error}"
            ) from error
        return encoder.eval()

    def log_mel(self, samples: Tensor) -> Tensor:
        """Map (1, n) samples to (1, 80, n // 160) log-mel."""
        padded = functional.pad(samples[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self.get_buffer("basis"), stride=HOP)
        real, imaginary = spectrum[:, :, :-1].chunk(2, dim=1)
        power = self.get_buffer("mel") @ (real**2 + imaginary**2)
        log = power.clamp(min=1e-10).log() / math.log(10)
        return (torch.maximum(log, log.max() - 8) + 4) / 4

    def forward(self, samples: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(self.log_mel(samples)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)  # (1, T, 384)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        mean = x.mean(1, keepdim=True)
        return torch.cat([mean[:, 0], ((x - mean) ** 2).mean(1).sqrt()], dim=1)


@torch.inference_mode()
def extract(encoder: AudioEncoder, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (EMBEDDING_DIM,) audio embedding of (n,) samples."""
    return encoder(torch.from_numpy(samples)[None])[0].numpy().astype(np.float32)  # type: ignore[no-any-return]
