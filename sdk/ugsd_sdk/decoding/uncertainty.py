"""Scores of how uncertain the drafter is about a token.

A score is computed from the logits (V,) of one position and the clip's OOD score. The paper uses
the entropy (:class:`EntropyUncertainty`, here a baseline). The default is a calibrated probability
that the verifier would reject the token (:class:`RejectionPredictor`), fitted on held-out speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p
from operator import mul
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
    "ExpectedGain",
    "Logistic",
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


class ExpectedGain(Protocol):
    """Predicts by how much asking raises the probability that a slot's value is right, -1 to 1;
    ``None`` if it cannot."""

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float | None: ...


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


class Logistic(StrictModel):
    """A logistic function of the features: sigmoid(weights . features + bias)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    weights: tuple[float, ...]
    bias: float

    def __call__(self, values: Sequence[float]) -> float:
        """Return the probability, 0 to 1, for the values of the features."""
        return _logistic(self.weights, self.bias, values)


class _RejectionPredictorFile(StrictModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    format: Annotated[int, exactly(2)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[float, ...]
    bias: float
    threshold: Annotated[float, Field(ge=0)]
    rescue: Logistic | None = None
    spoil: Logistic | None = None


@dataclass(frozen=True)
class RejectionPredictor:
    """P(the verifier rejects) in [0, 1]: sigmoid(weights . features + bias).

    It is fitted at the token that states the emotion, which is what a verifier is asked about. The
    OOD score is one of its features, since a drafter that hears speech unlike its training data is
    often confidently wrong.

    A verifier may also reject what was right. ``rescue`` and ``spoil`` predict how often its answer
    makes a wrong emotion right, and a right one wrong: see :meth:`expected_gain`.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    """The least uncertainty that is escalated, chosen on the calibration speakers."""
    rescue: Logistic | None = None
    """P(the draft is wrong and the verdict right), by the same features."""
    spoil: Logistic | None = None
    """P(the draft is right and the verdict wrong), by the same features."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.features) - set(FEATURES))
        if unknown:
            raise ModelError(
                f"unknown features {unknown} of the rejection predictor: use {sorted(FEATURES)}"
            )
        fitted = [one.weights for one in (self.rescue, self.spoil) if one is not None]
        for weights in (self.weights, *fitted):
            if len(weights) != len(self.features):
                raise ModelError(
                    f"the rejection predictor has {len(self.features)} features but "
                    f"{len(weights)} weights: fit it again"
                )
        if (self.rescue is None) != (self.spoil is None):
            raise ModelError("the rejection predictor has only one of rescue and spoil: fit both")

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
        return cls(
            fields.features, fields.weights, fields.bias, fields.threshold,
            rescue=fields.rescue, spoil=fields.spoil,
        )  # fmt: skip

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float:
        """Return P(reject) for ``logits`` (V,) in a clip with ``ood_score`` >= 0.

        Raises :class:`ModelError` for invalid logits or an invalid OOD score.
        """
        return _logistic(self.weights, self.bias, self._values(logits, ood_score))

    @property
    def has_gain(self) -> bool:
        """Whether it predicts the expected gain."""
        return self.rescue is not None

    def expected_gain(self, logits: NDArray[np.floating], ood_score: float) -> float | None:
        """Return by how much asking raises the probability that the emotion is right, -1 to 1:
        P(rescue) - P(spoil). ``None`` if neither was fitted. Raises as a call does."""
        if self.rescue is None or self.spoil is None:
            return None
        values = self._values(logits, ood_score)
        return self.rescue(values) - self.spoil(values)

    def _values(self, logits: NDArray[np.floating], ood_score: float) -> list[float]:
        if not 0 <= ood_score < inf:
            raise ModelError(
                "the drafter's OOD score is not a finite number >= 0: reinstall its weights"
            )
        spread = spread_of(logits)
        return [FEATURES[name](spread, ood_score) for name in self.features]


def _logistic(weights: Sequence[float], bias: float, values: Sequence[float]) -> float:
    z = bias + sum(map(mul, weights, values))
    return 1 / (1 + exp(-z)) if z >= 0 else exp(z) / (1 + exp(z))
