"""The emotions that the verifier most likely reads from a state, computed on the device.

A small network was fitted to the verifier's probabilities of the emotions, given one state. It is a
file of the drafter, since it fits one projection of states. Nothing is sent to compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.protocol.messages import MAX_STATE_DIM, MAX_VALUES
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.drafter.bundle import STATE_READING_FILE, DrafterBundle
from ugsd_sdk.errors import ModelError

__all__ = ["StateReading", "parse_state_reading"]

_MAX_LAYERS, _MAX_WIDTH, _MAX_ITEMS = 4, 256, 200_000
_MOST = 1e6
"""Larger weights could sum to numbers that are not finite."""
_Weight = Annotated[float, Field(ge=-_MOST, le=_MOST)]
_Row = Annotated[tuple[_Weight, ...], Field(min_length=1, max_length=_MAX_WIDTH)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _LayerFile(StrictModel):
    model_config = ConfigDict(allow_inf_nan=False)

    weights: Annotated[tuple[_Row, ...], Field(min_length=1, max_length=_MAX_WIDTH)]
    bias: _Row

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if any(len(row) != len(self.bias) for row in self.weights):
            raise ValueError("the rows of a layer are not as long as its bias")
        return self


class _StateReadingFile(StrictModel):
    """``state_reading.json``."""

    model_config = ConfigDict(allow_inf_nan=False)

    format: Annotated[int, exactly(1)]
    slot: Literal["emotion"]
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_VALUES)]
    layers: Annotated[tuple[_LayerFile, ...], Field(min_length=1, max_length=_MAX_LAYERS)]
    agreement: _Share
    distance: _Share

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if len(self.layers[0].weights) > MAX_STATE_DIM:
            raise ValueError(f"a state has at most {MAX_STATE_DIM} coordinates")
        widths = [len(layer.weights) for layer in self.layers[1:]] + [len(self.values)]
        if [len(layer.bias) for layer in self.layers] != widths:
            raise ValueError("the layers do not fit each other and the values")
        if sorted(self.values) != sorted(SLOT_VALUES[Slot(self.slot)]):
            raise ValueError("it does not have the values of this release")
        return self


@dataclass(frozen=True)
class StateReading:
    """Maps a state to the probabilities that the verifier gives to the values of a slot."""

    slot: Slot
    values: tuple[str, ...]
    """The values, in the order of the last layer's outputs."""
    layers: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Weights (inputs, outputs) and bias (outputs,) of each layer, with tanh between the layers."""
    agreement: float
    """Share of the test speakers' states whose likeliest value the verifier finds likeliest too."""
    distance: float
    """Mean total variation distance from the verifier's probabilities on these states, 0 to 1."""

    @classmethod
    def load(cls, bundle: DrafterBundle) -> StateReading | None:
        """Read the file of a drafter; ``None`` if the drafter has none. Raises :class:`ModelError`
        if it is damaged, or is about states of another size."""
        data = bundle.listed_text(STATE_READING_FILE)
        if data is None:
            return None
        path = bundle.folder / STATE_READING_FILE
        try:
            reading = parse_state_reading(data)
        except ValueError as error:
            raise ModelError(f"{path}: {error}: fit it again") from error
        if reading.state_dim != bundle.description().state_dim:
            raise ModelError(f"{path} is about states of another size: fit it again")
        return reading

    @property
    def state_dim(self) -> int:
        """Number of coordinates of the states that it reads."""
        return len(self.layers[0][0])

    def read(self, state: NDArray[np.floating]) -> dict[str, float]:
        """Return the probability of each value for a ``state`` (d,) as it was sent, the likeliest
        first. Raises :class:`ValueError` for another number of coordinates."""
        if state.shape != (self.state_dim,):
            raise ValueError(f"a state of this drafter has {self.state_dim} coordinates")
        *hidden, (weights, bias) = self.layers
        x = state.astype(np.float64)
        for inner, offset in hidden:
            x = np.tanh(x @ inner + offset)
        scores = x @ weights + bias
        likely = np.exp(scores - scores.max())
        likely /= likely.sum()
        order = np.argsort(-likely, kind="stable")
        return {self.values[place]: float(likely[place]) for place in order}


def parse_state_reading(data: bytes) -> StateReading:
    """Return the network in ``state_reading.json``. Raises :class:`ValueError`."""
    file = read_json(_StateReadingFile, data, max_items=_MAX_ITEMS)
    layers = [(np.array(layer.weights), np.array(layer.bias)) for layer in file.layers]
    return StateReading(Slot(file.slot), file.values, layers, file.agreement, file.distance)
