"""Reads logged states in words, each by the drafter whose projection made it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.reports.readings import ReadState

from ugsd_sdk.drafter.bundle import BUNDLED, DrafterBundle
from ugsd_sdk.drafter.state_reading import StateReading
from ugsd_sdk.errors import ModelError

__all__ = ["state_reader"]


def state_reader(drafter: str, warn: Callable[[str], None]) -> ReadState:
    """Return what reads states, given a drafter's name or folder: of a folder's drafter, or of all
    bundled ones. A state is read by the drafter whose projection made it, and by no other.

    Files are read when they are needed first. Readings are an addition to what was logged: a
    drafter whose reading is damaged reads nothing, and ``warn`` is called once with the reason. The
    function raises :class:`ModelError` if there is no such drafter.
    """
    names = BUNDLED if drafter in BUNDLED else (drafter,)

    @cache
    def by_projection() -> dict[bytes, StateReading | None]:
        found = dict[bytes, StateReading | None]()
        for bundle in map(DrafterBundle.of, names):
            projection = bytes.fromhex(bundle.description().projection)
            try:
                found[projection] = StateReading.load(bundle)
            except ModelError as error:
                warn(f"the reading of the numbers is unavailable: {error}")
        return found

    def read(projection: bytes, state: NDArray[np.float32]) -> dict[str, float] | None:
        reading = by_projection().get(projection)
        if reading is None or reading.state_dim != len(state):
            return None
        return reading.read(state)

    return read
