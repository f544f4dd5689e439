"""A probe of what a drafter's ears hear: the emotion that its evidence tells, decoded by nothing.

The bound that shows whether a drafter is a straw man: its captions should name the right emotion
about as often as a classifier that is trained on the same clips and reads the same evidence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from ugsd_sdk.audio.windows import encoder_windows

from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.speech import read_speech
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.training.profiles import running_profiles

__all__ = ["probe_emotions"]

_STEPS, _BATCH, _HIDDEN = 600, 128, 256


def probe_emotions(
    ears: Path, train: Sequence[Clip], clips: Sequence[Clip], progress: Progress, *, seed: int = 0
) -> dict[str, str]:
    """The emotion of each of ``clips``, by id, as a classifier of evidence hears it that was
    trained on ``train`` and knows the speakers' habits as the drafter does. ``ears`` is the graph
    that the drafter listens with."""
    embedding = _evidence(ears, [*train, *clips], progress)
    mean, scale = embedding[: len(train)].mean(0), embedding[: len(train)].std(0) + 1e-6
    own = embedding - _usual([*train, *clips], embedding, mean)
    inputs = torch.from_numpy(np.concatenate([(embedding - mean) / scale, (own - mean) / scale], 1))
    network = _fitted(inputs[: len(train)], train, seed)
    with torch.inference_mode():
        heard = network(inputs[len(train) :]).argmax(1)
    return {clip.id: EMOTIONS[i] for clip, i in zip(clips, heard.tolist(), strict=True)}


def _usual(
    clips: Sequence[Clip], embedding: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(n, E) how the speakers' habits differ from ``mean``, as far as they are to be believed."""
    profiles = running_profiles(clips, embedding)
    return np.stack([h.weight * (h.mean - mean) if h.count else 0 * mean for h in profiles]).astype(
        np.float32
    )


def _evidence(ears: Path, clips: Sequence[Clip], progress: Progress) -> NDArray[np.float32]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the device does: docs/decisions/007
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(ears), options, providers=["CPUExecutionProvider"])
    heard = []
    for done, clip in enumerate(clips, 1):
        heard.append(session.run(None, {"samples": encoder_windows(read_speech(clip))})[0][0])
        progress("probing", done, len(clips), "")
    return np.stack(heard)


def _fitted(inputs: torch.Tensor, clips: Sequence[Clip], seed: int) -> nn.Module:
    """Batches are drawn evenly over corpora, as the drafters' are."""
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
