"""What each way of escalating was measured to reach, and at which price.

The figures are measured in the lab, ``ugsd-lab calibrate-risk``, on calibration speakers, and
travel with the drafter as ``quality.json``. They are figures of the weights and the gate whose
hashes they name, and of no others.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.drafter.bundle import GATE_FILE, DrafterBundle
from ugsd_sdk.errors import ConfigError, ModelError

__all__ = [
    "RISK_CALIBRATION_FILE",
    "CalibratedSetting",
    "Check",
    "Gap",
    "RiskCalibration",
    "weight_hashes",
]

RISK_CALIBRATION_FILE = "quality.json"
_MAX_ITEMS = 20_000

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


class CalibratedSetting(StrictModel):
    """One disclosure at one threshold: what it reached, and what left for it."""

    disclosure: Disclosure
    threshold: _Amount
    """The least uncertainty that escalates."""
    risk: _Share
    """Mean over captions of: blocks in which a drafted token stands that the verifier, had it the
    summary state, would have rejected / all blocks of the caption."""
    risk_bound: _Share
    """The true risk exceeds no target of at least this, fixed beforehand, but with probability
    ``delta``."""
    gain: _Finite | None
    """Gap closed in emotion accuracy; ``None`` where the gap is not surely one."""
    gain_low: _Finite | None
    gain_high: _Finite | None
    """95 % interval over speakers."""
    emotion: _Share
    """Share of captions that name the right emotion."""
    tokens_left: _Share
    """Distinct token positions that left / caption length, the end marker included."""
    states_left: _Share
    """The same of state positions."""
    frames: _Amount
    """Per caption; so the next."""
    bytes_sent: _Amount


class Gap(StrictModel):
    """Emotion accuracy, the verifier on every token minus the drafter alone."""

    where: str
    """``pooled``, ``home`` or ``away``."""
    alone: _Share
    verifier: _Share
    low: _Finite | None
    high: _Finite | None
    """95 % interval of the difference over speakers; ``None`` where there are too few of them."""
    captions: _Count
    speakers: _Count


class Check(StrictModel):
    """What a choice was worth on captions that had no part in it."""

    target: _Share
    """Of the risk."""
    chosen_on: str
    on: str
    disclosure: Disclosure | None
    threshold: _Amount | None
    """``None`` where nothing reaches the target."""
    risk: _Share | None
    """Mean loss there."""
    captions: _Count


class RiskCalibration(StrictModel):
    """``quality.json``."""

    format: Annotated[int, exactly(1)]
    command: str
    """What printed the figures."""
    weights: dict[str, str]
    """SHA-256, in hex, of the drafter's graphs and of its gate, by file."""
    verifier: str
    """SHA-256, in hex, of the verifier's graph. A device cannot tell which one it is talking to."""
    block_tokens: Annotated[int, Field(ge=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    captions: _Count
    speakers: _Count
    settings: Annotated[tuple[CalibratedSetting, ...], Field(min_length=1)]
    gaps: tuple[Gap, ...]
    checks: tuple[Check, ...]

    @classmethod
    def load(cls, folder: Path) -> RiskCalibration:
        """The figures that lie beside the drafter in ``folder``.

        Raises :class:`ConfigError` where there are none, or they are another drafter's, and
        :class:`ModelError` where there is no drafter.
        """
        path = folder / RISK_CALIBRATION_FILE
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
            found = read_json(cls, data, max_items=_MAX_ITEMS)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: nobody measured what this drafter reaches: run "
                "`ugsd-lab calibrate-risk --write`, or set threshold and disclosure in place of a "
                "target"
            ) from error
        if found.weights != weight_hashes(folder):
            raise ConfigError(
                f"{path} is of other weights or another gate: run "
                "`ugsd-lab calibrate-risk --write` again"
            )
        return found


def weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256, in hex, of all that the figures of the drafter in ``folder`` depend on."""
    bundle = DrafterBundle(folder)
    gate = bundle.gate_file
    if not gate.is_file():
        return bundle.weights()
    try:
        digest = hashlib.sha256(read_regular(gate, MAX_TEXT_BYTES)).hexdigest()
    except OSError as error:
        raise ModelError(f"{gate}: {error.strerror}: fit it again") from error
    return bundle.weights() | {GATE_FILE: digest}
