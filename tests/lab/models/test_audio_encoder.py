from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.audio_encoder import AudioEncoder


def test_weights_other_than_whispers_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read"):
        AudioEncoder.from_whisper(weights)
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(TrainingError, match="lacks"):
        AudioEncoder.from_whisper(weights)
    save_file({name: torch.zeros(1) for name in AudioEncoder().state_dict()}, weights)
    with pytest.raises(TrainingError, match="does not hold the encoder"):
        AudioEncoder.from_whisper(weights)
