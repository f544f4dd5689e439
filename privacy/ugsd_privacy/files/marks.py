"""Marks of what must be there: they stand apart from a folder of state, so that its loss is seen.

A folder that was lost, or restored in part, would be begun again in silence, and what it guarded
against could pass. A file of marks beside the folder names what was kept in it, with how far each
had come. The file's own loss is seen by another one that is made after it, if one is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.key_files import create_private, read_text, replace_text
from ugsd_privacy.strict_models import StrictModel

__all__ = ["Mark", "MarkFile"]

_MAX_BYTES = 65_536
_OWNER_ONLY = 0o600
_Count = Annotated[int, Field(ge=0, lt=2**63)]

Mark = tuple[_Count, _Count]
"""How far something had come: a serial or a size, and a time in seconds since 1970."""


class _Marks(StrictModel):
    format: Literal["ugsd-marks/1"] = "ugsd-marks/1"
    marks: dict[Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")], Mark]


class MarkFile:
    """The marks of ``folder``, in a file of the folder's name and ``.anchor`` beside it.

    Where ``made_after`` exists, the file must: whoever makes that calls :meth:`make` first.
    """

    def __init__(self, folder: Path, *, made_after: Path | None = None) -> None:
        self.path = folder.with_name(f"{folder.name}.anchor")
        self._made_after = made_after

    def is_lost(self) -> bool:
        """Whether the file is missing though it was made once."""
        is_due = self._made_after is not None and self._made_after.exists()
        return is_due and not self.path.exists()

    def make(self) -> None:
        """Make the file without marks, unless it exists. Raises :class:`KeyFileError`."""
        if self.path.exists():
            return
        try:
            create_private(self.path, _Marks(marks={}).model_dump_json())
        except KeyFileError:
            if not self.path.exists():  # else another process was first
                raise

    def read(self) -> Mapping[str, Mark]:
        """The marks by name; none where there is no file. Raises :class:`KeyFileError` for one that
        is damaged, or not this user's alone."""
        if not self.path.exists():
            return {}
        text = read_text(self.path, secret=True, what="file of marks", max_bytes=_MAX_BYTES)
        try:
            return read_json(_Marks, text, max_items=_MAX_BYTES, max_keys=_MAX_BYTES).marks
        except ValueError:
            raise KeyFileError(f"{self.path} is damaged; restore it from a backup") from None

    def put(self, name: str, mark: Mark) -> None:
        """Replace one mark; ``name`` is hexadecimal. One process at a time. Raises
        :class:`KeyFileError`."""
        marks = {**self.read(), name: mark}
        replace_text(self.path, _Marks(marks=marks).model_dump_json(), mode=_OWNER_ONLY)

    def start_again(self) -> None:
        """Replace a lost or damaged file by one without marks. Raises :class:`KeyFileError`."""
        replace_text(self.path, _Marks(marks={}).model_dump_json(), mode=_OWNER_ONLY)
