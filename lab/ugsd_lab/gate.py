"""Fitting the gate: a calibrated probability that the verifier would reject a drafted token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.uncertainty import FEATURES, spread_of
from ugsd_server.verifier.acceptance import Typical, probabilities
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.corpora import Clip, read_samples
from ugsd_lab.training import Progress

__all__ = ["ESCALATED_AT_HOME", "Gate", "expected_calibration_error", "fit_gate", "observe"]

_FEATURES = ("entropy", "1-top1")
_BLOCK = 5
ESCALATED_AT_HOME = 0.2
"""Share of the calibration speakers' blocks that the threshold escalates."""


@dataclass(frozen=True)
class Gate:
    """What ``gate.json`` holds."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    calibration_error: float
    """Expected calibration error on the calibration speakers, ten bins of equal size."""


@dataclass(frozen=True)
class Observed:
    """One drafted caption, judged token by token with only its summary disclosed."""

    features: NDArray[np.float64]
    """(T, F)"""
    rejected: NDArray[np.bool_]
    """(T,)"""


def observe(
    drafter: OnnxDrafter, scorer: OnnxScorer, clips: Sequence[Clip], progress: Progress
) -> list[Observed]:
    """Draft every clip greedily and ask the verifier about each token."""
    out = []
    rule = Typical()
    for done, clip in enumerate(clips, 1):
        evidence = drafter.encode(read_samples(clip))
        session = drafter.start(evidence)
        rows, summary = [], session.predict().state
        while not session.tokens or session.tokens[-1] != drafter.info.eos:
            if len(session.tokens) == drafter.info.max_tokens:
                break
            logits = session.predict().logits
            spread = spread_of(logits)
            rows.append([FEATURES[name](spread, evidence.novelty) for name in _FEATURES])
            session.append([int(logits.argmax())])
        tokens = list(session.tokens)
        inputs = np.array([scorer.info.bos, *tokens[:-1]], dtype=np.int64)
        states = np.zeros((len(tokens), len(summary)), dtype=np.float32)
        has_state = np.zeros(len(tokens), dtype=np.float32)
        states[0], has_state[0] = summary, 1
        scores = scorer.extend(scorer.new_cache(), inputs, states, has_state)
        rejected = [
            not rule.accepts(probabilities(row, None), token)
            for row, token in zip(scores, tokens, strict=True)
        ]
        out.append(Observed(np.array(rows), np.array(rejected)))
        progress("calibrating", done, len(clips), "")
    return out


def fit_gate(
    drafter_folder: Path, verifier_folder: Path, clips: Sequence[Clip], progress: Progress
) -> Gate:
    """Logistic regression on the tokens of ``clips``, and the threshold that escalates the least
    sure ``ESCALATED_AT_HOME`` of their blocks."""
    drafter, scorer = OnnxDrafter(drafter_folder), OnnxScorer(verifier_folder)
    drafter.load()
    scorer.load()
    seen = observe(drafter, scorer, clips, progress)
    features = np.concatenate([o.features for o in seen])
    rejected = np.concatenate([o.rejected for o in seen])
    weights, bias = _logistic(features, rejected)
    chance = [_sigmoid(o.features @ weights + bias) for o in seen]
    return Gate(
        features=_FEATURES,
        weights=tuple(float(w) for w in weights),
        bias=float(bias),
        threshold=_threshold(chance),
        calibration_error=expected_calibration_error(np.concatenate(chance), rejected),
    )


def expected_calibration_error(
    chance: NDArray[np.float64], happened: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean distance of predicted and observed frequency over bins of equal size."""
    order = np.array_split(np.argsort(chance), bins)
    gaps = [len(i) * abs(chance[i].mean() - happened[i].mean()) for i in order if len(i)]
    return float(sum(gaps) / len(chance))


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-z))


def _logistic(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias by L-BFGS with a weak ridge."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    inputs, targets = torch.from_numpy((x - mean) / scale), torch.from_numpy(y.astype(float))
    parameters = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        z = inputs @ parameters[:-1] + parameters[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, targets)
        loss = loss + 1e-4 * (parameters[:-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    fitted = parameters.detach().numpy()
    weights = fitted[:-1] / scale
    return weights, float(fitted[-1] - weights @ mean)


def _threshold(chance: Sequence[NDArray[np.float64]]) -> float:
    blocks = [c[i : i + _BLOCK].max() for c in chance for i in range(0, len(c), _BLOCK)]
    return float(np.quantile(blocks, 1 - ESCALATED_AT_HOME))
