"""Reading what was stored as JSON."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel
from ugsd_privacy.bounded_json import read_json

from ugsd_sdk.errors import WrongType, WrongValue

__all__ = ["read_stored"]

_Model = TypeVar("_Model", bound=BaseModel)


def read_stored(kind: type[_Model], text: str | bytes, *, max_items: int) -> _Model:
    """Return the ``kind`` that ``text`` holds, with at most ``max_items`` values. Raises
    :class:`WrongValue` for other text, and :class:`WrongType` for what is no text."""
    if not isinstance(text, (str, bytes)):
        raise WrongType(f"JSON must be text or bytes, not {type(text).__name__}")
    try:
        return read_json(kind, text, max_items=max_items)
    except ValueError as error:
        raise WrongValue(f"not the JSON of a {kind.__name__.lower()}: {error}") from error
