"""Generates the pages of the published JSON Schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]


def caption_schema_page() -> str:
    """Describe the fields of a caption's JSON."""
    return _page(
        "caption.schema.json",
        "Schema of a caption",
        "which `ugsd caption --json` and `Caption.to_json()` follow. A field that is not always "
        "there has its default when it is absent.",
    )


def report_schema_page() -> str:
    """Describe the fields of both kinds of report."""
    return _page(
        "report.schema.json",
        "Schema of the reports",
        "which `ugsd audit report --format json` and `ugsd audit fleet --format json` follow.",
    )


def plain_cell(text: str) -> str:
    """Convert a docstring for a table's cell."""
    text = re.sub(r":(?:class|meth|func|mod|data|attr|exc):`~?(?:\w+\.)*(\w+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def _page(file: str, title: str, users: str) -> str:
    schema = json.loads((DOCS / file).read_text(encoding="utf-8"))
    lines = [f"# {title}", "", f"Generated from [{file}](../{file}), {users}", ""]
    parts = dict(sorted(schema["$defs"].items()))
    if "properties" in schema:
        parts = {schema["title"]: schema} | parts
    for name, part in parts.items():
        lines += _part(name, part)
    return "\n".join(lines)


def _part(name: str, part: dict[str, Any]) -> list[str]:
    described = plain_cell(part.get("description", ""))
    lines = [f"## `{name}`", ""]
    if described:
        lines += [described, ""]
    if "properties" not in part:
        return [*lines, _type(part), ""]
    required = set(part.get("required", ()))
    lines += ["| field | type | always there | meaning |", "|---|---|---|---|"]
    for field, kind in part["properties"].items():
        always = "yes" if field in required else "no"
        meaning = plain_cell(kind.get("description", ""))
        lines.append(f"| `{field}` | {_type(kind)} | {always} | {meaning} |")
    return [*lines, ""]


def _type(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[`{name}`](#{name.lower()}){_values(kind)}"
    for key in ("anyOf", "oneOf"):
        if key in kind:
            return " or ".join(dict.fromkeys(map(_type, kind[key])))
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if "const" in kind:
        return f"`{kind['const']}`"
    if kind.get("type") == "array" and isinstance(kind.get("items"), dict):
        return f"list of {_type(kind['items'])}"
    return str(kind.get("type", "any"))


def _values(kind: dict[str, Any]) -> str:
    """Return the values of an attribute, which the schema lists beside the reference."""
    values = kind.get("properties", {}).get("value", {}).get("enum", ())
    listed = ", ".join(f"`{value}`" for value in values if value is not None)
    return f": {listed}" if listed else ""
