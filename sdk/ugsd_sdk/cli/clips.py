"""The clips of the demonstration, which come with the package."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.errors import ModelError

__all__ = ["DemoClip", "read_clips"]

_MAX_ITEMS = 10_000


class DemoClip(StrictModel):
    """One entry of ``clips.json``."""

    model_config = ConfigDict(extra="ignore")

    file: str
    language: str
    emotion: str
    speaker: str
    acquaints: bool = False
    """Whether the clip only enrols its speaker and is not shown."""


def read_clips(folder: Path) -> tuple[DemoClip, ...]:
    """Return the clips in ``folder``. Raises :class:`ModelError` if the package is incomplete."""
    try:
        data = read_regular(folder / "clips.json", MAX_TEXT_BYTES)
        return read_json(tuple[DemoClip, ...], data, max_items=_MAX_ITEMS)
    except (OSError, ValueError) as error:
        raise ModelError(f"the bundled clips at {folder} are incomplete: reinstall ugsd") from error
