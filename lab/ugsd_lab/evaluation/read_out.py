"""A linear read-out: what a classifier without hidden layers reads from audio embeddings.

It compares audio encoders: cheap to fit, and the same for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.models.torch_threads import one_torch_thread
from ugsd_lab.training.profiles import running_profiles

__all__ = ["own_embeddings", "read_emotions"]

Float32 = NDArray[np.float32]

_PENALTY = 1e-2
_ITERATIONS = 100


def own_embeddings(clips: Sequence[Clip], embeddings: Float32, population: Float32) -> Float32:
    """Return (n, E) embeddings less the running speaker profiles' difference from ``population``
    (E,), each profile weighted by the number of clips behind it, as the drafter does."""
    profiles = running_profiles(clips, embeddings)
    offsets = [p.weight * (p.mean - population) if p.count else 0 * population for p in profiles]
    return embeddings - np.stack(offsets).astype(np.float32)


def read_emotions(
    train: Sequence[Clip], train_inputs: Float32, inputs: Float32, *, penalty: float = _PENALTY
) -> list[str]:
    """Return the emotion that is read from each row of ``inputs`` (m, D).

    The read-out is a multinomial logistic regression with a ridge ``penalty``, fitted by L-BFGS to
    ``train_inputs`` (n, D) of the clips ``train``, whose corpora count equally whatever their
    sizes.
    """
    mean, scale = train_inputs.mean(0), train_inputs.std(0) + 1e-6
    x, rows = (torch.from_numpy((some - mean) / scale) for some in (train_inputs, inputs))
    y = torch.tensor([EMOTIONS.index(clip.emotion or "") for clip in train])
    names = [clip.corpus for clip in train]
    share = torch.tensor([1 / names.count(name) for name in names])
    share = share / share.sum()
    weights = torch.zeros(x.shape[1], len(EMOTIONS), requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        each = functional.cross_entropy(x @ weights + bias, y, reduction="none")
        loss = (share * each).sum() + penalty * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with one_torch_thread():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        return [EMOTIONS[index] for index in (rows @ weights + bias).argmax(1).tolist()]
