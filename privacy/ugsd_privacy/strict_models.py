"""Models of data that somebody else wrote: every value has exactly the type that is written down.

Pydantic takes ``true`` for 1, ``1.0`` for 1 and ``"1"`` for 1 unless it is told to be strict, and
compares a ``Literal`` number by Python's equality even then. Two readers that disagree about such a
value disagree about what was signed.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["StrictModel", "exactly"]


class StrictModel(BaseModel):
    """Base of models that read foreign data: closed, frozen, and strict about types.

    Declaring a ``Literal`` with a value that is no text raises ``TypeError``: give a number its
    bounds instead, ``Annotated[int, exactly(1)]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            if _has_loose_literal(field.annotation):
                raise TypeError(f"{cls.__name__}.{name}: a Literal of a number takes others too")


def exactly(number: int) -> Any:
    """The bounds of an ``int`` that can only be ``number``, such as that of a format:
    ``format: Annotated[int, exactly(1)]``."""
    return Field(ge=number, le=number)


def _has_loose_literal(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return not all(type(value) is str for value in get_args(annotation))
    return any(map(_has_loose_literal, get_args(annotation)))
