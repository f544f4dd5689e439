from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.audio_encoder import HEAD_DIM, AudioEncoder
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, STARTER, DrafterBundle
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.speech.windows import embed_windows, encoder_frames, encoder_windows, levelled


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
    (embedding,) = shallow.embed(encoder_frames(window)[None].copy())
    assert np.allclose(found[layers], embedding, atol=1e-6)


def plain_embedding(encoder: AudioEncoder, window: np.ndarray) -> np.ndarray:
    """Embed one window as Whisper's own code does: by convolutions, one head after another."""
    log_mel = encoder.log_mel
    padded = functional.pad(torch.from_numpy(window)[None, None], (200, 200), mode="reflect")
    spectrum = functional.conv1d(padded, log_mel.basis.T[:, None], stride=160)[:, :, :-1]
    real, imaginary = spectrum.chunk(2, dim=1)
    log = (log_mel.mel[:201].T @ (real**2 + imaginary**2)).clamp(min=1e-10).log10()
    x = (torch.maximum(log, log.max() - 8) + 4) / 4
    x = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(x))))[0].T
    x = x + encoder.embed_positions.weight[: len(x)]
    outputs = []
    for layer in encoder.layers:
        normed = functional.layer_norm(
            x, x.shape[1:], layer.self_attn_layer_norm.weight, layer.self_attn_layer_norm.bias
        )
        heads = zip(
            *(layer.self_attn[name](normed).split(HEAD_DIM, 1)
              for name in ("q_proj", "k_proj", "v_proj")),
            strict=True,
        )  # fmt: skip
        mixed = [(q @ k.T / HEAD_DIM**0.5).softmax(-1) @ v for q, k, v in heads]
        x = x + layer.self_attn["out_proj"](torch.cat(mixed, 1))
        normed = functional.layer_norm(
            x, x.shape[1:], layer.final_layer_norm.weight, layer.final_layer_norm.bias
        )
        x = x + layer.fc2(functional.gelu(layer.fc1(normed)))
        outputs.append(x)
    both = torch.cat(outputs, 1)
    return torch.cat([both.mean(0), both.std(0, unbiased=False)]).numpy()


@torch.inference_mode()
def test_encoder_equals_a_plain_one_window_by_window() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(2 * HEAD_DIM).eval()
    for parameter in encoder.parameters():  # biases and norms too: they start as zeros and ones
        parameter.add_(torch.randn_like(parameter) * 0.02)
    rng = np.random.default_rng(0)
    windows = list(rng.standard_normal((3, 16_080)).astype(np.float32) * np.float32(0.05))

    embeddings = encoder.embed(np.stack(list(map(encoder_frames, windows))))

    plain = [plain_embedding(encoder, window) for window in windows]
    assert np.allclose(embeddings, plain, atol=2e-5)


BUNDLED_GRAPH = DrafterBundle.of(STARTER).find(AUDIO_ENCODER_GRAPH)
EVERY_128TH = [
    [0.55249, 0.52862, 0.47716, 0.5427, 0.45503, 0.57614, 0.44706, 0.62237,
     0.68131, 0.11539, 0.68134, 0.14284, 0.67264, 0.15288, 0.68848, 0.20027],
    [0.57971, 0.5579, 0.47262, 0.62724, 0.51251, 0.55703, 0.49812, 0.66163,
     0.70487, 0.14397, 0.68034, 0.12118, 0.69604, 0.1844, 0.681, 0.14818],
    [0.59219, 0.59689, 0.49234, 0.59413, 0.52483, 0.59977, 0.50401, 0.63142,
     0.67341, 0.11322, 0.6838, 0.09813, 0.67905, 0.17391, 0.67383, 0.14991],
]  # fmt: skip
"""Of the embeddings of a clip's windows, as the graph gave them that read one window at a time."""


def test_bundled_graph_embeds_as_before_it_read_batches() -> None:
    session = onnx_session(BUNDLED_GRAPH.read_bytes())
    speech = read_clip(STARTER_DRAFTER / "clips" / "15b03Tc.opus")

    embeddings = embed_windows(
        lambda frames: session.run(None, {"frames": frames})[0], encoder_windows(levelled(speech))
    )

    assert np.allclose(np.stack(embeddings)[:, ::128], EVERY_128TH, atol=5e-5)
