"""One line of captions with times as JSON Lines, read strictly."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.caption import Caption

__all__ = ["read_line"]

_MAX_ITEMS = 400_000


class _Line(StrictModel):
    start_s: float = Field(allow_inf_nan=False)
    end_s: float = Field(allow_inf_nan=False)
    text: str
    channel: str | None = None
    source: str | None = None
    caption: Caption | None = None


def read_line(text: str | bytes) -> dict[str, Any]:
    """Return the fields of a line. Raises :class:`ValueError` for anything else."""
    return dict(read_json(_Line, text, max_items=_MAX_ITEMS))
