from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.audio_encoder import HEAD_DIM, AudioEncoder


def test_weights_other_than_whispers_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read"):
        AudioEncoder.from_whisper(weights)
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(TrainingError, match="lacks"):
        AudioEncoder.from_whisper(weights)
    save_file({name: torch.zeros(1) for name in AudioEncoder(HEAD_DIM).state_dict()}, weights)
    with pytest.raises(TrainingError, match="does not hold the encoder"):
        AudioEncoder.from_whisper(weights)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_layer_embedding_is_that_of_fewer_layers(layers: int) -> None:
    torch.manual_seed(0)
    deep = AudioEncoder(HEAD_DIM, (2,)).eval()
    shallow = AudioEncoder(HEAD_DIM, (layers,)).eval()
    shallow.load_state_dict(deep.state_dict(), strict=False)
    window = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)

    found = deep.layer_embeddings(window)

    assert found.shape == (3, deep.embedding_dim)
    assert np.allclose(found[layers], shallow.embed(window), atol=1e-6)
