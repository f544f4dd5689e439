"""The emotions that a verifier most likely reads from the states of a caption, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.dp.mechanism import dequantise
from ugsd_privacy.dp.plausible_states import plausible_states
from ugsd_privacy.protocol.messages import Block, decode_device_message
from ugsd_privacy.reports.parts import Count, Part

__all__ = [
    "READING_NOTE",
    "ReadState",
    "Reading",
    "no_reading",
    "read_received",
    "reading_text",
    "readings_of",
]

ReadState = Callable[[bytes, NDArray[np.float32]], Mapping[str, float] | None]
"""From the SHA-256 of a projection and a state (d,), as it was received, to the probability of each
value; ``None`` if nobody knows how to read it."""
READING_NOTE = (
    "The verifier most likely reads these emotions from the numbers (computed on this device). "
    "Others may infer more: see what is protected."
)
_LEAST_SHOWN, _MOST_SHOWN, _DECIMALS = 0.1, 3, 3


class Reading(Part):
    """The emotions that the verifier most likely reads from the numbers of one state."""

    position: Count
    """Position of the state in the caption, from 0; of several states with the same reading,
    the first."""
    sigma: Annotated[float, Field(gt=0)] | None
    """Noise on the numbers, in units of their largest norm; null without noise."""
    probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]]
    """Probability of each value of the emotion, the likeliest first."""


def no_reading(projection: bytes, state: NDArray[np.float32]) -> None:
    """Read nothing: a :data:`ReadState` without a drafter."""


def readings_of(records: Sequence[EgressRecord], read: ReadState) -> Iterator[Reading]:
    """Yield the readings of the states in the messages of ``records``, each reading once."""
    seen: list[tuple[float | None, Mapping[str, float]]] = []
    for record in records:
        if record.message is None or not record.state_positions:
            continue
        block = decode_device_message(record.message)
        if not isinstance(block, Block):
            continue
        states = dequantise(block.states, block.state_dim, block.exponent)
        for position, state in zip(block.state_positions, states, strict=True):
            found = read_received(read, record.projection_id, state, block.exponent)
            if found is None:
                continue
            rounded = {value: round(share, _DECIMALS) for value, share in found.items()}
            if (record.sigma, rounded) not in seen:
                seen.append((record.sigma, rounded))
                yield Reading(position=position, sigma=record.sigma, probabilities=rounded)


def read_received(
    read: ReadState, projection: bytes, received: NDArray[np.float32], exponent: int
) -> Mapping[str, float] | None:
    """Return the average reading of the states that ``received`` may have been before the noise;
    without noise that is one."""
    average: dict[str, float] = {}
    for state, share in zip(*plausible_states(received, exponent), strict=True):
        found = read(projection, state)
        if found is None:
            return None
        for value, probability in found.items():
            average[value] = average.get(value, 0.0) + float(share) * probability
    return dict(sorted(average.items(), key=lambda item: -item[1]))


def reading_text(probabilities: Mapping[str, float], sigma: float | None) -> str:
    """Format a reading: its likeliest values, and the noise on the numbers."""
    ordered = sorted(probabilities.items(), key=lambda item: -item[1])
    shown = [
        f"{value} {_share(share)}"
        for place, (value, share) in enumerate(ordered[:_MOST_SHOWN])
        if share >= _LEAST_SHOWN or not place
    ]
    noise = [] if sigma is None else [f"with noise of sigma {sigma:g}"]
    return ", ".join(shown + noise)


def _share(share: float) -> str:
    text = f"{share:.2f}"
    return text if text.startswith("1") else text[1:]
