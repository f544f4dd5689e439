"""A probe: a classifier that predicts emotion from a drafter's audio embedding.

It shows whether a drafter is a fair baseline: its captions should name the right emotion about as
often as a classifier that is trained on the same clips and reads the same audio embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.speech import read_speech
from ugsd_lab.models.device_encoder import DeviceEncoder
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.torch_threads import one_torch_thread
from ugsd_lab.training.profiles import running_profiles

__all__ = ["probe_emotions"]

_STEPS, _BATCH, _HIDDEN = 600, 128, 256


def probe_emotions(
    audio_encoder: Path,
    train: Sequence[Clip],
    clips: Sequence[Clip],
    progress: Progress,
    *,
    seed: int = 0,
) -> dict[str, str]:
    """Return the predicted emotion of each of ``clips``, by id.

    The classifier is trained on the clips ``train`` and uses the speaker profiles as the drafter
    does. ``audio_encoder`` is the drafter's ONNX graph of that name.
    """
    embeddings = _embeddings(audio_encoder, [*train, *clips], progress)
    mean, scale = embeddings[: len(train)].mean(0), embeddings[: len(train)].std(0) + 1e-6
    own = embeddings - _profile_offsets([*train, *clips], embeddings, mean)
    inputs = torch.from_numpy((own - mean) / scale)
    with one_torch_thread():
        network = _fitted(inputs[: len(train)], train, seed)
        with torch.inference_mode():
            predicted = network(inputs[len(train) :]).argmax(1)
    return {clip.id: EMOTIONS[i] for clip, i in zip(clips, predicted.tolist(), strict=True)}


def _profile_offsets(
    clips: Sequence[Clip], embeddings: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (n, E) the differences of the speaker profiles from ``mean``, each weighted by the
    number of clips behind it."""
    profiles = running_profiles(clips, embeddings)
    return np.stack([p.weight * (p.mean - mean) if p.count else 0 * mean for p in profiles]).astype(
        np.float32
    )


def _embeddings(
    audio_encoder: Path, clips: Sequence[Clip], progress: Progress
) -> NDArray[np.float32]:
    encoder = DeviceEncoder(audio_encoder)
    embeddings = []
    for done, clip in enumerate(clips, 1):
        embeddings.append(encoder.embed(read_speech(clip)))
        progress("probing", done, len(clips), "")
    return np.stack(embeddings)


def _fitted(inputs: torch.Tensor, clips: Sequence[Clip], seed: int) -> nn.Module:
    """Return a trained classifier. Batches are drawn evenly over corpora, as for the drafters."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(inputs.shape[1], _HIDDEN), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(_HIDDEN, len(EMOTIONS)),
    )  # fmt: skip
    emotion = torch.tensor([EMOTIONS.index(clip.emotion or "") for clip in clips])
    names = [clip.corpus for clip in clips]
    share = torch.tensor([1 / names.count(name) for name in names])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=_STEPS + 1)
    for _ in range(_STEPS):
        rows = torch.multinomial(share, _BATCH, replacement=True)
        loss = functional.cross_entropy(network(inputs[rows]), emotion[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()
