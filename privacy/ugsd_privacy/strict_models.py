"""Base classes of models: of foreign data, in which every value has exactly its declared type, and
of data that a JSON Schema describes.

Unless it is strict, Pydantic accepts ``true``, ``1.0`` and ``"1"`` for 1. Even then it compares a
``Literal`` number by Python's equality. Two readers that disagree about such a value disagree about
what was signed.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

__all__ = ["DescribedModel", "StrictModel", "attribute_docstrings", "exactly"]


class StrictModel(BaseModel):
    """Base of models that read foreign data: closed, frozen, and strict about types.

    Declaring a ``Literal`` with a value that is not text raises ``TypeError``: use bounds for a
    number, ``Annotated[int, exactly(1)]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            if _has_loose_literal(field.annotation):
                raise TypeError(
                    f"{cls.__name__}.{name}: use exactly() instead of a Literal that is not text"
                )


class DescribedModel(BaseModel):
    """Base of models that are closed and frozen, and whose JSON Schema describes each field by the
    text below it.

    Pydantic's own option, ``use_attribute_docstrings``, parses the source of every class on import;
    here it is parsed when a schema is made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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


def exactly(number: int) -> Any:
    """Return the bounds of an ``int`` that can only be ``number``, for example the number of a
    format: ``format: Annotated[int, exactly(1)]``."""
    return Field(ge=number, le=number)


def _has_loose_literal(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return not all(type(value) is str for value in get_args(annotation))
    return any(map(_has_loose_literal, get_args(annotation)))


def attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field of a class and of its base classes, by the field's name."""
    import ast  # noqa: PLC0415  # only for schemas

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
