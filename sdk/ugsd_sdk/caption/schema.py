"""The JSON Schema of captions, which is published as docs/caption.schema.json."""

from __future__ import annotations

import json
import re
from typing import Any

from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, UNITS
from ugsd_sdk.caption.caption import Caption

__all__ = ["caption_schema"]

_ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)`")
_DESCRIPTION = (
    "A caption: what it says in words and as data, and what was sent for it. A field that is "
    "absent has its default; the small form also leaves out tokens, decisions, receipts, and the "
    "distributions of all attributes but the emotion."
)


def caption_schema() -> str:
    """Return the JSON Schema (2020-12) of a caption's JSON, small or with all details."""
    schema = _simplified(Caption.model_json_schema())
    fields = schema["$defs"]["Attributes"]["properties"]
    for name, values in ATTRIBUTE_VALUES.items():
        fields[name] = _attribute_schema(fields[name], values, UNITS.get(name))
    named = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ugsd:caption:1",
        "title": "UGSD caption",
    }
    schema |= {"description": _DESCRIPTION, "title": named["title"]}
    return json.dumps(named | schema, indent=1) + "\n"


def _attribute_schema(
    field: dict[str, Any], values: tuple[str, ...], unit: str | None
) -> dict[str, Any]:
    """Return the schema of an attribute with its values, and its unit in the description."""
    own: dict[str, Any] = {
        "value": {"enum": [*values, None]},
        "distribution": {"propertyNames": {"enum": [*values]}},
    }
    if unit is not None:
        own["measured"] = {"description": f"In {unit}."}
    return field | {"properties": own}


def _simplified(schema: Any) -> Any:
    """Remove the markup of docstrings, and defaults that are objects: each of their fields has its
    own default."""
    if isinstance(schema, dict):
        return {
            key: _unmarked(value)
            if key == "description" and isinstance(value, str)
            else _simplified(value)
            for key, value in schema.items()
            if not (key == "default" and isinstance(value, dict))
        }
    return list(map(_simplified, schema)) if isinstance(schema, list) else schema


def _unmarked(text: str) -> str:
    plain = _ROLE.sub(r"`\1`", text).replace("``", "`").replace("`None`", "null")
    return "\n\n".join(" ".join(part.split()) for part in plain.split("\n\n"))
