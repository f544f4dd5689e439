"""Bound foreign JSON before a model validates it.

A validator lists every fault that it finds: an object with a million unknown keys is a few
megabytes and becomes gigabytes of faults. A valid file has few keys in each object, a limited
number of values, and is nested only a few levels deep.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

__all__ = ["check_json", "read_json"]

_T = TypeVar("_T")

_MAX_KEYS = 64
_MAX_DEPTH = 32


def check_json(data: bytes, *, max_items: int, max_keys: int = _MAX_KEYS) -> None:
    """Raise :class:`ValueError` for JSON with more than ``max_items`` commas or ``max_keys`` keys
    in one object, or nested more than 32 levels deep, and for data that is not JSON.

    Every array and object of n values has n - 1 commas, so the first bound needs no parsing.
    """
    if data.count(b",") > max_items:
        raise ValueError(f"it has more than {max_items} values")
    level: list[Any] = [from_json(data)]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer, max_keys)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


def read_json(
    kind: type[_T] | TypeAdapter[_T],
    data: bytes | str,
    *,
    max_items: int,
    max_keys: int = _MAX_KEYS,
) -> _T:
    """Read the JSON ``data`` as ``kind``, a model or a type adapter, with strict types.

    Raises :class:`ValueError`, and no other error, for JSON beyond the bounds of
    :func:`check_json` or of another kind. Its message is one line, which names the first fault and
    its place, and quotes nothing from ``data``.
    """
    raw = data.encode() if isinstance(data, str) else data
    check_json(raw, max_items=max_items, max_keys=max_keys)
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ValueError(f"{where}: {first['msg']}") from None


def _inside(value: Any, max_keys: int) -> list[Any]:
    if isinstance(value, dict):
        if len(value) > max_keys:
            raise ValueError(f"an object in it has more than {max_keys} keys")
        return [inner for inner in value.values() if isinstance(inner, (dict, list))]
    if isinstance(value, list):
        return [inner for inner in value if isinstance(inner, (dict, list))]
    return []
