"""Base class for models of foreign data, in which every value has exactly its declared type.

Unless it is strict, Pydantic accepts ``true``, ``1.0`` and ``"1"`` for 1. Even then it compares a
``Literal`` number by Python's equality. Two readers that disagree about such a value disagree about
what was signed.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["StrictModel", "exactly"]


class StrictModel(BaseModel):
    """Base of models that read foreign data: closed, frozen, and strict about types. A model is
    built when it is first used.

    Declaring a ``Literal`` with a value that is not text raises ``TypeError``: use bounds for a
    number, ``Annotated[int, exactly(1)]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            if _has_loose_literal(field.annotation):
                raise TypeError(
                    f"{cls.__name__}.{name}: use exactly() instead of a Literal that is not text"
                )


def exactly(number: int) -> Any:
    """Return the bounds of an ``int`` that can only be ``number``, for example the number of a
    format: ``format: Annotated[int, exactly(1)]``."""
    return Field(ge=number, le=number)


def _has_loose_literal(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return not all(type(value) is str for value in get_args(annotation))
    return any(map(_has_loose_literal, get_args(annotation)))
