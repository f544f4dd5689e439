"""The risk calibration table: measured quality and disclosure of each threshold of a question.

``ugsd-lab calibrate-risk`` measures it on calibration speakers; it is stored with the drafter as
``quality.json``. It is valid only for the drafter whose files have the hashes that it contains, and
it is read strictly, so that an edited table cannot promise what no measurement gives.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.drafter.bundle import (
    REJECTION_PREDICTOR_FILE,
    SLOTS_FILE,
    VOCABULARY_FILE,
    DrafterBundle,
)
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
_FORMAT = 2
_MAX_ITEMS = 20_000

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


def _measured(disclosure: Disclosure) -> Disclosure:
    if disclosure is not Disclosure.SUMMARY:
        raise ValueError(f"the risk is measured with disclosure = summary, not {disclosure}")
    return disclosure


def _known_format(number: int) -> int:
    if number != _FORMAT:
        raise ValueError(f"the table has format {number}, and this release reads {_FORMAT}")
    return number


_Measured = Annotated[Disclosure, AfterValidator(_measured)]


class CalibratedSetting(StrictModel):
    """One threshold: the quality that it reached and what it sent."""

    disclosure: _Measured
    threshold: _Share
    """The least uncertainty that escalates: a probability, and 1 never escalates."""
    risk: _Share
    """Share of captions that keep the drafted value of the slot on the device although the verifier
    would have rejected it."""
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

    @model_validator(mode="after")
    def _check_bound(self) -> Self:
        if self.risk > self.risk_bound:
            raise ValueError("the measured risk is above its bound")
        return self


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
    disclosure: _Measured | None
    threshold: _Share | None
    """``None`` if no setting reaches the target."""
    risk: _Share | None
    """Mean risk on the corpora ``on``."""
    captions: _Count


class RiskCalibration(StrictModel):
    """``quality.json``."""

    format: Annotated[int, AfterValidator(_known_format)]
    command: str
    """The command that measured the table."""
    weights: dict[str, str]
    """SHA-256, in hex, of the drafter's graphs, its vocabulary, its slots and its rejection
    predictor, by file."""
    verifier: str
    """SHA-256, in hex, of the verifier's graph. A device cannot check which verifier it uses."""
    slot: Literal["emotion"]
    """The slot that was asked about. The risk is that of its question."""
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
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"{path}: there is no usable risk calibration table for this drafter: {why}: run "
                "`ugsd-lab calibrate-risk --write`, or set threshold and disclosure instead of a "
                "target"
            ) from error
        if found.weights != weight_hashes(folder):
            raise ConfigError(
                f"{path} was measured with other weights, words, slots or another rejection "
                "predictor: run `ugsd-lab calibrate-risk --write` again"
            )
        return found


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256, in hex, of each file that the table of the drafter depends on."""
    bundle = DrafterBundle(folder)
    others = (VOCABULARY_FILE, SLOTS_FILE, REJECTION_PREDICTOR_FILE)
    return bundle.weights() | {
        name: _hash(folder / name) for name in others if (folder / name).is_file()
    }


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path, MAX_TEXT_BYTES)).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: make it again") from error
