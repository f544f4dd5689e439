"""An independent speaker embedder for comparison: Resemblyzer's published weights, if installed.

GE2E (Wan et al. 2018) as in ``resemblyzer`` 0.1.4 (Apache-2.0), trained on hundreds of hours of
other speakers: a 3 x 256 LSTM over 40 mel bands, a linear layer, ReLU and unit norm. Only its
weights are read, so that none of its own requirements is needed: ``pip install --no-deps
resemblyzer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress

__all__ = ["EMBEDDER", "HOW_TO_GET_IT", "embed_clips", "find_weights"]

Float32 = NDArray[np.float32]

EMBEDDER = "Resemblyzer"
HOW_TO_GET_IT = (
    "To compare with an independent speaker embedder, run pip install --no-deps resemblyzer and "
    "repeat the command."
)
_MELS, _HIDDEN, _LAYERS, _EMBEDDING = 40, 256, 3, 256
_RATE, _WINDOW, _HOP = 16_000, 400, 160
_FRAMES, _STEP = 160, 80
"""Frames of a partial utterance of 1.6 s, and the step to the next one; the published code averages
their embeddings."""
_LOUDNESS = 10 ** (-30 / 20)
"""Root mean square to which quieter clips are raised: -30 dBFS."""


def find_weights() -> Path | None:
    """Return the path of the installed package's weights; None if it is not installed."""
    spec = find_spec("resemblyzer")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "pretrained.pt"
    return path if path.is_file() else None


class _Encoder(nn.Module):
    """The network, with the parameter names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, _HIDDEN, _LAYERS, batch_first=True)
        self.linear = nn.Linear(_HIDDEN, _EMBEDDING)

    def forward(self, mels: Tensor) -> Tensor:
        """Map (n, T, 40) mels to (n, 256) embeddings of unit norm."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


def embed_clips(weights: Path, clips: Sequence[Clip], progress: Progress) -> Float32:
    """Return (n, 256) embeddings of unit norm. Raises :class:`EvaluationError` if ``weights`` is
    another file."""
    encoder = _Encoder()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    except Exception as error:
        raise EvaluationError(
            f"{weights} does not hold the weights of {EMBEDDER}: reinstall it"
        ) from error
    encoder.eval()
    embedded = []
    for done, clip in enumerate(clips, 1):
        embedded.append(_embed(encoder, read_samples(clip)))
        progress("embedding", done, len(clips), "")
    return np.stack(embedded)


@torch.inference_mode()
def _embed(encoder: _Encoder, samples: Float32) -> Float32:
    librosa = compiled_librosa()
    rms = float(np.sqrt(np.mean(samples**2)))
    louder = samples * max(1.0, _LOUDNESS / max(rms, 1e-6))
    least = _FRAMES * _HOP
    if len(louder) < least:
        louder = np.pad(louder, (0, least - len(louder)))
    mel = (
        librosa.feature.melspectrogram(
            y=louder, sr=_RATE, n_fft=_WINDOW, hop_length=_HOP, n_mels=_MELS
        )
        .astype(np.float32)
        .T
    )
    starts = range(0, len(mel) - _FRAMES + 1, _STEP)
    partials = torch.from_numpy(np.stack([mel[start : start + _FRAMES] for start in starts]))
    mean = encoder(partials).mean(dim=0)
    return (mean / mean.norm()).numpy()  # type: ignore[no-any-return]
