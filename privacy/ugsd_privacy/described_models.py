"""Base class for models whose JSON Schema describes each field by the text below it.

Pydantic's own option, ``use_attribute_docstrings``, reads and parses the source of every class when
it is imported. Only a schema needs the texts, so they are read when one is made.
"""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

__all__ = ["DescribedModel", "attribute_docstrings"]


class DescribedModel(BaseModel):
    """Base of models that are closed and frozen. A model is built when it is first used."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in attribute_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a class and of its base classes, by the field's name."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        if owner.__module__.startswith("pydantic"):
            continue
        body = ast.parse(dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found
