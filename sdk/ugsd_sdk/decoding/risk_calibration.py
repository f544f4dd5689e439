"""The risk calibration table: measured quality and disclosure of each escalation setting.

``ugsd-lab calibrate-risk`` measures it on calibration speakers; it is stored with the drafter as
``quality.json``. It is valid only for the weights and the rejection predictor whose hashes it
contains.
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

from ugsd_sdk.drafter.bundle import REJECTION_PREDICTOR_FILE, DrafterBundle
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
    """One disclosure at one threshold: the quality that it reached and what it sent."""

    disclosure: Disclosure
    threshold: _Amount
    """The least uncertainty that escalates."""
    risk: _Share
    """Mean over captions of the share of blocks with a kept drafted token that the verifier would
    have rejected, given the summary state."""
    risk_bound: _Share
    """For a target of at least this, fixed beforehand, the true risk exceeds the target with
    probability at most ``delta``."""
    gain: _Finite | None
    """Gap closed in emotion accuracy; ``None`` if the gap is not significant."""
    gain_low: _Finite | None
    gain_high: _Finite | None
    """95 % interval over speakers."""
    emotion: _Share
    """Share of captions that name the right emotion."""
    tokens_left: _Share
    """Distinct token positions sent / caption length, including the end marker."""
    states_left: _Share
    """Distinct state positions sent / caption length, including the end marker."""
    frames: _Amount
    """Frames per caption."""
    bytes_sent: _Amount
    """Bytes per caption."""


class Gap(StrictModel):
    """Emotion accuracy of the verifier on every token compared with that of the drafter alone."""

    where: str
    """``pooled``, ``home`` (in-domain corpora) or ``away`` (out-of-domain corpora)."""
    alone: _Share
    verifier: _Share
    low: _Finite | None
    high: _Finite | None
    """95 % interval of the difference over speakers; ``None`` with too few speakers."""
    captions: _Count
    speakers: _Count


class Check(StrictModel):
    """The risk of a chosen setting on captions that were not used for the choice."""

    target: _Share
    """Target of the risk."""
    chosen_on: str
    on: str
    disclosure: Disclosure | None
    threshold: _Amount | None
    """``None`` if no setting reaches the target."""
    risk: _Share | None
    """Mean risk on the corpora ``on``."""
    captions: _Count


class RiskCalibration(StrictModel):
    """``quality.json``."""

    format: Annotated[int, exactly(1)]
    command: str
    """The command that measured the table."""
    weights: dict[str, str]
    """SHA-256, in hex, of the drafter's graphs and of its rejection predictor, by file."""
    verifier: str
    """SHA-256, in hex, of the verifier's graph. A device cannot check which verifier it uses."""
    block_tokens: Annotated[int, Field(ge=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    captions: _Count
    speakers: _Count
    settings: Annotated[tuple[CalibratedSetting, ...], Field(min_length=1)]
    gaps: tuple[Gap, ...]
    checks: tuple[Check, ...]

    @classmethod
    def load(cls, folder: Path) -> RiskCalibration:
        """Read the table of the drafter in ``folder``.

        Raises :class:`ConfigError` if it is missing or belongs to another drafter, and
        :class:`ModelError` if there is no drafter.
        """
        path = folder / RISK_CALIBRATION_FILE
        try:
            data = read_regular(path, MAX_TEXT_BYTES)
            found = read_json(cls, data, max_items=_MAX_ITEMS)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: there is no usable risk calibration table for this drafter: run "
                "`ugsd-lab calibrate-risk --write`, or set threshold and disclosure instead of a "
                "target"
            ) from error
        if found.weights != weight_hashes(folder):
            raise ConfigError(
                f"{path} was measured with other weights or another rejection predictor: "
                "run `ugsd-lab calibrate-risk --write` again"
            )
        return found


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256, in hex, of each file that the table of the drafter depends on."""
    bundle = DrafterBundle(folder)
    predictor = bundle.rejection_predictor_file
    if not predictor.is_file():
        return bundle.weights()
    try:
        digest = hashlib.sha256(read_regular(predictor, MAX_TEXT_BYTES)).hexdigest()
    except OSError as error:
        raise ModelError(f"{predictor}: {error.strerror}: fit it again") from error
    return bundle.weights() | {REJECTION_PREDICTOR_FILE: digest}
