"""Weights of a small random encoder, with the names of a published one."""

from __future__ import annotations

from pathlib import Path

import torch
from ugsd_lab.bench.layer_embeddings import MAX_LAYERS
from ugsd_lab.models.audio_encoder import HEAD_DIM, AudioEncoder


def write_whisper(path: Path, seed: int = 0, layers: int = MAX_LAYERS) -> Path:
    """Write an encoder of one head to ``path``."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    state = AudioEncoder(HEAD_DIM, (layers,)).state_dict()
    save_file(
        {
            name: value
            for name, value in state.items()
            if name not in ("log_mel.mel", "log_mel.basis")
        },
        path,
    )
    return path
