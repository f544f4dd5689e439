"""Scores of how uncertain the drafter is about a token.

A score is computed from the logits (V,) of one position and the clip's OOD score. The paper uses
the entropy (:class:`EntropyUncertainty`, here a baseline). The default is a calibrated probability
that the verifier would reject the token (:class:`RejectionPredictor`), fitted on held-out speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, inf, log, log1p
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.errors import ModelError

__all__ = [
    "FEATURES",
    "EntropyUncertainty",
    "RejectionPredictor",
    "Spread",
    "Uncertainty",
    "spread_of",
]


@dataclass(frozen=True)
class Spread:
    """Statistics of a next-token distribution."""

    entropy: float
    """Shannon entropy in nats, 0 to ln V."""
    top1: float
    """Probability of the likeliest token."""
    margin: float
    """``top1`` minus the probability of the second likeliest token; 1 with only one token."""


def spread_of(logits: NDArray[np.floating]) -> Spread:
    """Return the spread of softmax(``logits``), (V,), computed in float64 against overflow.

    ``-inf`` is an impossible token. Raises :class:`ModelError` for NaN, ``+inf``, or only
    impossible tokens, which mean that the model is damaged.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values.max()):
        raise ModelError("the drafter's logits are not a distribution: reinstall its weights")
    shifted = values - values.max()
    weights = np.exp(shifted)
    total = weights.sum()
    finite = np.where(weights > 0, shifted, 0.0)
    entropy = float(np.log(total) - (weights * finite).sum() / total)
    top = np.partition(weights, -2)[-2:] if values.size > 1 else np.array([0.0, weights[0]])
    return Spread(max(entropy, 0.0), float(top[1] / total), float((top[1] - top[0]) / total))


class Uncertainty(Protocol):
    """Scores a position; a larger score is less certain."""

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float: ...


@dataclass(frozen=True)
class EntropyUncertainty:
    """The paper's score: entropy as a share of ln V (0 to 1) or in nats."""

    unit: Literal["share", "nats"] = "share"

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float:
        """Return the entropy of softmax(``logits``); ``ood_score`` is not used."""
        entropy = spread_of(logits).entropy
        if self.unit == "nats":
            return entropy
        return min(1.0, entropy / log(logits.size)) if logits.size > 1 else 0.0


_TINY = 1e-6
"""Limits the log-odds of a certain token to about -14."""
_MAX_ITEMS = 1000


FEATURES: Mapping[str, Callable[[Spread, float], float]] = MappingProxyType(
    {
        "entropy": lambda spread, _: spread.entropy,
        "1-top1": lambda spread, _: 1.0 - spread.top1,
        "margin": lambda spread, _: spread.margin,
        "log-odds": lambda spread, _: log((1 - spread.top1 + _TINY) / spread.top1),
        "log1p(ood_score)": lambda _, ood_score: log1p(ood_score),
    }
)
"""Functions of the features by their name in ``gate.json``. ``log-odds`` is the log-odds of any
token but the likeliest."""


class _RejectionPredictorFile(StrictModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    format: Annotated[int, exactly(2)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[float, ...]
    bias: float
    threshold: Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class RejectionPredictor:
    """P(the verifier rejects) in [0, 1]: sigmoid(weights . features + bias).

    It is fitted at the token that states the emotion, which is what a verifier is asked about. The
    OOD score is one of its features, since a drafter that hears speech unlike its training data is
    often confidently wrong.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    """The least uncertainty that is escalated, chosen on the calibration speakers."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.features) - set(FEATURES))
        if unknown:
            raise ModelError(
                f"unknown features {unknown} of the rejection predictor: use {sorted(FEATURES)}"
            )
        if len(self.features) != len(self.weights):
            raise ModelError(
                f"the rejection predictor has {len(self.features)} features but "
                f"{len(self.weights)} weights: fit it again"
            )

    @classmethod
    def load(cls, path: Path) -> RejectionPredictor:
        """Read ``gate.json``. Raises :class:`ModelError` if it is missing or malformed."""
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
            fields = read_json(_RejectionPredictorFile, data, max_items=_MAX_ITEMS)
        except FileNotFoundError as error:
            raise ModelError(
                f"{path} is missing, so the folder is incomplete: copy the drafter's folder again"
            ) from error
        except OSError as error:
            raise ModelError(
                f"{path}: {error.strerror}: copy the drafter's folder again"
            ) from error
        except ValueError as error:
            raise ModelError(
                f"{path} is not a rejection predictor of format 2: fit it again"
            ) from error
        return cls(fields.features, fields.weights, fields.bias, fields.threshold)

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float:
        """Return P(reject) for ``logits`` (V,) in a clip with ``ood_score`` >= 0.

        Raises :class:`ModelError` for invalid logits or an invalid OOD score.
        """
        if not 0 <= ood_score < inf:
            raise ModelError(
                "the drafter's OOD score is not a finite number >= 0: reinstall its weights"
            )
        spread = spread_of(logits)
        z = self.bias + sum(
            weight * FEATURES[name](spread, ood_score)
            for name, weight in zip(self.features, self.weights, strict=True)
        )
        return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))
