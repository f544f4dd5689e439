"""State readings as files, for drafters of any size."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.bundle import (
    DESCRIPTION_FILE,
    STARTER,
    STATE_READING_FILE,
    VOCABULARY_FILE,
    DrafterBundle,
)


def reading_fields(state_dim: int, *, hidden: int = 3, seed: int = 0) -> dict[str, Any]:
    """Return the fields of a ``state_reading.json`` with random weights."""
    rng = np.random.default_rng(seed)
    layers = [
        {"weights": rng.normal(size=shape).tolist(), "bias": rng.normal(size=shape[1]).tolist()}
        for shape in ((state_dim, hidden), (hidden, len(EMOTIONS)))
    ]
    return {
        "format": 1, "slot": "emotion", "values": list(EMOTIONS), "layers": layers,
        "agreement": 0.9, "distance": 0.1,
    }  # fmt: skip


def drafter_folder(
    folder: Path, fields: Any, *, state_dim: int, projection: bytes = bytes(32)
) -> Path:
    """Write a drafter's folder with a vocabulary and, unless ``fields`` is ``None``, the state
    reading ``fields``; it has no graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    starter = DrafterBundle.of(STARTER).folder
    description = json.loads((starter / DESCRIPTION_FILE).read_text("utf-8"))
    description["state_dim"], description["projection"] = state_dim, projection.hex()
    description["files"].pop(STATE_READING_FILE, None)
    (folder / VOCABULARY_FILE).write_bytes((starter / VOCABULARY_FILE).read_bytes())
    if fields is not None:
        data = json.dumps(fields).encode()
        (folder / STATE_READING_FILE).write_bytes(data)
        description["files"][STATE_READING_FILE] = hashlib.sha256(data).hexdigest()
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description))
    return folder
