"""Embeddings by layer and window are those of the encoders that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.bench import layer_embeddings
from ugsd_lab.bench.layer_embeddings import (
    MAX_LAYERS,
    WINDOWS_S,
    embed_layers,
    speech_layers,
)
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.data.speech import read_speech
from ugsd_lab.errors import EvaluationError, TrainingError
from ugsd_lab.models.audio_encoder import AudioEncoder
from ugsd_sdk.speech.windows import embed_in_windows

from tests.lab.bench.small_whisper import write_whisper

CLIPS = load_corpora(None)[:3]


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return write_whisper(tmp_path / "small.safetensors")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the lengths of the speech that was encoded in this process."""
    lengths: list[int] = []

    def counted(encoder: AudioEncoder, speech: np.ndarray) -> np.ndarray:
        lengths.append(len(speech))
        return speech_layers(encoder, speech)

    monkeypatch.setattr(layer_embeddings, "speech_layers", counted)
    return lengths


def test_layers_and_windows_equal_shorter_encoders(whisper: Path) -> None:
    found = embed_layers(CLIPS, whisper, None, quiet, workers=1)

    assert found.shape[:3] == (len(CLIPS), len(WINDOWS_S), 1 + MAX_LAYERS)
    for layers in range(1 + MAX_LAYERS):
        encoder = AudioEncoder.from_whisper(whisper, (layers,))
        for window, window_s in enumerate(WINDOWS_S):
            for row, clip in enumerate(CLIPS):
                expected = embed_in_windows(encoder.embed, read_speech(clip), window_s)
                assert np.allclose(found[row, window, layers], expected, atol=1e-5)


def test_each_window_passes_the_encoder_once(whisper: Path) -> None:
    encoder, passes = AudioEncoder.from_whisper(whisper, (MAX_LAYERS,)), []
    encoder.log_mel.register_forward_hook(lambda *_: passes.append(1))
    rng = np.random.default_rng(0)

    speech_layers(encoder, rng.standard_normal(16_000).astype(np.float32))
    assert len(passes) == 1, "one second is one window of either length"
    speech_layers(encoder, rng.standard_normal(4 * 16_000).astype(np.float32))
    assert len(passes) == 1 + 2 + 1


def test_cache_keeps_every_encoder(whisper: Path, tmp_path: Path, encoded: list[int]) -> None:
    cache = tmp_path / "cache" / "layers.npz"
    other = write_whisper(tmp_path / "other.safetensors", seed=1)
    some = embed_layers(CLIPS[:2], whisper, cache, quiet, workers=1)
    others = embed_layers(CLIPS, other, cache, quiet, workers=1)
    assert len(encoded) == 5

    all_of_them = embed_layers(CLIPS, whisper, cache, quiet, workers=1)
    again = embed_layers(CLIPS[::-1], other, cache, quiet, workers=1)
    assert len(encoded) == 6, "only the missing clip is encoded"
    assert np.array_equal(all_of_them[:2], some)
    assert np.array_equal(again[::-1], others)
    assert not np.allclose(others[:2], some)


def test_interrupted_run_resumes(
    whisper: Path, tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(stage: str, done: int, of: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(layer_embeddings, "_STORE_EVERY", 1)
    cache = tmp_path / "layers.npz"
    with pytest.raises(KeyboardInterrupt):
        embed_layers(CLIPS, whisper, cache, killed, workers=1)
    embed_layers(CLIPS, whisper, cache, quiet, workers=1)
    assert len(encoded) == len(CLIPS)


@pytest.mark.slow
def test_workers_embed_alike(whisper: Path) -> None:
    here, there = (embed_layers(CLIPS, whisper, None, quiet, workers=n) for n in (1, 2))
    assert np.allclose(here, there, atol=1e-5)


def test_other_files_are_refused(whisper: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.npz"
    cache.write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="holds no embeddings"):
        embed_layers(CLIPS, whisper, cache, quiet, workers=1)
    with pytest.raises(TrainingError, match="lacks"):
        embed_layers(CLIPS, write_whisper(whisper, layers=1), None, quiet, workers=1)
