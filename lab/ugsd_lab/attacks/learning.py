"""The attackers' models: small networks, logistic regression and ridge regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CLASSIFIERS", "FULL", "QUICK", "Network", "TrainingBudget", "fit_network", "ridge"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_BATCH, _HIDDEN, _EMBEDDING = 256, 256, 64
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 0.01
_WIDE = 64
"""Number of features from which dropout is stronger."""


@dataclass(frozen=True)
class TrainingBudget:
    """How long attackers train."""

    steps: int = 400
    """Training steps of a network, with 256 rows each."""
    seed: int = 0


FULL = TrainingBudget()
QUICK = TrainingBudget(steps=80)


@dataclass(frozen=True)
class Network:
    """A trained classifier or regressor, and the scaling of its features."""

    mean: Float32
    scale: Float32
    body: nn.Module
    head: nn.Module

    @torch.inference_mode()
    def hidden(self, features: Float32) -> Float32:
        """Return the (n, e) inputs of the last layer."""
        return self._body(features).numpy()

    @torch.inference_mode()
    def outputs(self, features: Float32) -> Float32:
        """Return (n, k) class scores or values."""
        return self.head(self._body(features)).numpy()  # type: ignore[no-any-return]

    def classes(self, features: Float32) -> Int64:
        """Return the (n,) likeliest classes."""
        likeliest: Int64 = self.outputs(features).argmax(axis=1)
        return likeliest

    def _body(self, features: Float32) -> Tensor:
        scaled = (features - self.mean) / self.scale
        out: Tensor = self.body(torch.from_numpy(scaled.astype(np.float32)))
        return out


def fit_network(
    features: Float32,
    targets: Int64 | Float32,
    *,
    weights: NDArray[np.float64] | None = None,
    linear: bool = False,
    effort: TrainingBudget = FULL,
) -> Network:
    """Fit classes (n,) or values (n, k) on ``features`` (n, d).

    Rows are drawn in proportion to ``weights``. ``linear`` gives logistic regression.
    """
    torch.manual_seed(effort.seed)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = torch.from_numpy(((features - mean) / scale).astype(np.float32))
    wanted = torch.from_numpy(targets)
    classes = targets.ndim == 1
    out = int(targets.max()) + 1 if classes else targets.shape[1]
    body, head = _layers(inputs.shape[1], out, linear=linear)
    share = torch.ones(len(inputs)) if weights is None else torch.from_numpy(weights).float()
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5 * _LEARNING_RATE if linear else _LEARNING_RATE, total_steps=effort.steps + 1
    )
    for _ in range(effort.steps):
        rows = torch.multinomial(share, _BATCH, replacement=True)
        guess, right = head(body(inputs[rows])), wanted[rows]
        loss = (
            functional.cross_entropy(guess, right, label_smoothing=0.05)
            if classes
            else functional.mse_loss(guess, right)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return Network(mean, scale, body.eval(), head.eval())


def _layers(features: int, out: int, *, linear: bool) -> tuple[nn.Module, nn.Module]:
    if linear:
        return nn.Identity(), nn.Linear(features, out)
    body = nn.Sequential(
        nn.Dropout(0.3 if features >= _WIDE else 0.1), nn.Linear(features, _HIDDEN), nn.GELU(),
        nn.Dropout(0.2), nn.Linear(_HIDDEN, _EMBEDDING),
    )  # fmt: skip
    return body, nn.Sequential(nn.GELU(), nn.Linear(_EMBEDDING, out))


CLASSIFIERS: Mapping[str, bool] = MappingProxyType({"logistic": True, "network": False})
"""Classifying attackers by name, and whether :func:`fit_network` is called with ``linear``."""


def ridge(features: Float32, values: Float32, penalty: float) -> tuple[Float32, Float32]:
    """Return weights (d, k) and bias (k,) of ridge regression on scaled features, ``penalty`` per
    row."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    wide = ((features - mean) / scale).astype(np.float64)
    centre = values.mean(axis=0)
    normal = wide.T @ wide + penalty * len(wide) * np.eye(wide.shape[1])
    weights = np.linalg.solve(normal, wide.T @ (values - centre)) / scale[:, None]
    return weights.astype(np.float32), (centre - mean @ weights).astype(np.float32)
