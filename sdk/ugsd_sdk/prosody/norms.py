"""How other speakers sound, and how far the device's measures are off.

``norms.json`` is fitted to training speakers, and its errors to development speakers, by
``ugsd_lab.training.prosody_norms``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.errors import ModelError

__all__ = [
    "NORMS_FILE",
    "ChangeNorm",
    "EmphasisNorm",
    "LevelNorm",
    "PauseNorm",
    "ProsodyNorms",
    "load_norms",
]

NORMS_FILE = Path(__file__).with_name("norms.json")
_MAX_BYTES = 16 * 2**10
_MAX_ITEMS = 200

_Positive = Annotated[float, Field(gt=0)]
_Probability = Annotated[float, Field(ge=0, le=1)]


class _Norm(StrictModel):
    model_config = ConfigDict(allow_inf_nan=False)


class LevelNorm(_Norm):
    """What is low and high of one measure, and how exactly the device measures it."""

    low: float
    """Lower quartile of the training speakers' recordings."""
    high: float
    """Upper quartile."""
    slope: float
    offset: float
    """The true value is expected at ``slope * measured + offset``."""
    sd: _Positive
    """Standard deviation of the true value from there."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be less than high")
        return self


class ChangeNorm(_Norm):
    """Which changes within a recording are usual, and how exactly the device measures them."""

    low: float
    """Lower quartile of the last third minus the first."""
    high: float
    sd: _Positive
    """Standard deviation of the device's error. For pace: over one second."""
    outliers: _Probability
    """Share of measures that are further off, such as by an octave."""


class PauseNorm(_Norm):
    """How exactly the device finds pauses."""

    duration_sd_s: _Positive
    missed: _Probability
    """Share of recordings without a pause by the device in which there is one."""
    false: _Probability
    """Share of recordings with a pause by the device in which there is none."""


class EmphasisNorm(_Norm):
    """How exactly the device finds the strongest stress."""

    sd_db: _Positive
    """Standard deviation of its prominence over the rest."""


class ProsodyNorms(_Norm):
    """The whole of ``norms.json``."""

    format: Annotated[int, exactly(1)]
    effort_db: LevelNorm
    pace: LevelNorm
    variation_st: LevelNorm
    clarity_db: LevelNorm
    pitch_st_female: LevelNorm
    """Of voices of women."""
    pitch_st_male: LevelNorm
    level_change_db: ChangeNorm
    pitch_change_st: ChangeNorm
    final_pitch_st: ChangeNorm
    pace_change: ChangeNorm
    pauses: PauseNorm
    emphasis: EmphasisNorm


@cache
def load_norms(path: Path = NORMS_FILE) -> ProsodyNorms:
    """Return the norms in ``path``. Raises :class:`ModelError` if it is missing or malformed."""
    try:
        return read_json(ProsodyNorms, read_regular(path, _MAX_BYTES), max_items=_MAX_ITEMS)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: reinstall the package") from error
    except ValueError as error:
        raise ModelError(
            f"{path} does not hold norms of format 1: reinstall the package"
        ) from error
