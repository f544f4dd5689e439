"""The attackers' models: small networks, logistic regression and ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "CLASSIFIERS",
    "FULL",
    "QUICK",
    "Network",
    "TrainingBudget",
    "fit_network",
    "fit_questions",
    "ridge",
]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_BATCH, _HIDDEN, _EMBEDDING = 256, 256, 64
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 0.01
_SMOOTHING = 0.05
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
    wanted = torch.from_numpy(targets)
    classes = targets.ndim == 1

    def loss(guess: Tensor, rows: Tensor) -> Tensor:
        if classes:
            return functional.cross_entropy(guess, wanted[rows], label_smoothing=_SMOOTHING)
        return functional.mse_loss(guess, wanted[rows])

    out = int(targets.max()) + 1 if classes else targets.shape[1]
    return _fit(features, out, loss, weights=weights, linear=linear, effort=effort)


def fit_questions(
    features: Float32,
    answers: Int64,
    *,
    linear: bool = False,
    effort: TrainingBudget = FULL,
) -> Callable[[Float32], Int64]:
    """Fit the classes of several questions at once on ``features`` (n, d); ``answers`` (n, q) are
    -1 where they are not known.

    Returns a function that maps (m, d) features to the (m, q) likeliest classes.
    """
    questions = answers.shape[1]
    most = max(1, int(answers.max()) + 1)
    wanted = torch.from_numpy(answers)
    counts = torch.from_numpy(answers.max(axis=0) + 1)
    impossible = torch.arange(most)[None] >= counts[:, None].clamp(min=1)  # (q, most)

    def scores(outputs: Tensor) -> Tensor:
        return outputs.view(-1, questions, most).masked_fill(impossible, -1e9)

    def loss(guess: Tensor, rows: Tensor) -> Tensor:
        right = wanted[rows]
        likely = scores(guess).log_softmax(-1).gather(2, right.clamp(min=0)[..., None])[..., 0]
        known = right >= 0
        return -(likely * known).sum() / known.sum().clamp(min=1)

    known = (answers >= 0).sum(axis=1).astype(np.float64)
    network = _fit(features, questions * most, loss, weights=known, linear=linear, effort=effort)
    return lambda rows: scores(torch.from_numpy(network.outputs(rows))).argmax(-1).numpy()


def _fit(
    features: Float32,
    out: int,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    weights: NDArray[np.float64] | None,
    linear: bool,
    effort: TrainingBudget,
) -> Network:
    """Train a network of ``out`` outputs; ``loss_of`` maps outputs and the rows that they are for
    to a loss."""
    torch.manual_seed(effort.seed)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = torch.from_numpy(((features - mean) / scale).astype(np.float32))
    body, head = _layers(inputs.shape[1], out, linear=linear)
    share = torch.ones(len(inputs)) if weights is None else torch.from_numpy(weights).float()
    drawn = torch.multinomial(share, effort.steps * _BATCH, replacement=True)
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, _LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5 * _LEARNING_RATE if linear else _LEARNING_RATE, total_steps=effort.steps + 1
    )
    for rows in drawn.view(-1, _BATCH):
        loss = loss_of(head(body(inputs[rows])), rows)
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
