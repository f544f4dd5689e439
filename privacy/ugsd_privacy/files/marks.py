"""Marks beside a folder of state that reveal the loss of its files.

A folder that is lost or restored in part would silently start from nothing, and the rollback that
it guards against would go unnoticed. A file of marks beside the folder names each file in it and
how far that had come. The loss of the marks themselves is noticed if a later file is named.
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
"""How far a file had come: a serial or a size, and a time in seconds since 1970."""


class _Marks(StrictModel):
    format: Literal["ugsd-marks/1"] = "ugsd-marks/1"
    marks: dict[Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")], Mark]


class MarkFile:
    """The marks of ``folder``, in a file beside it: the folder's name with ``.anchor`` appended.

    If ``made_after`` exists, the file must exist too: call :meth:`make` before creating that.
    """

    def __init__(self, folder: Path, *, made_after: Path | None = None) -> None:
        self.path = folder.with_name(f"{folder.name}.anchor")
        self._made_after = made_after

    def is_lost(self) -> bool:
        """Return whether the file was created once and is missing now."""
        is_expected = self._made_after is not None and self._made_after.exists()
        return is_expected and not self.path.exists()

    def make(self) -> None:
        """Create the file without marks, unless it exists. Raises :class:`KeyFileError`."""
        if self.path.exists():
            return
        try:
            create_private(self.path, _Marks(marks={}).model_dump_json())
        except KeyFileError:
            if not self.path.exists():  # otherwise another process has just created it
                raise

    def read(self) -> Mapping[str, Mark]:
        """Return the marks by name; none if there is no file. Raises :class:`KeyFileError` if it is
        damaged, or others may read or write it."""
        if not self.path.exists():
            return {}
        text = read_text(self.path, secret=True, what="file of marks", max_bytes=_MAX_BYTES)
        try:
            return read_json(_Marks, text, max_items=_MAX_BYTES, max_keys=_MAX_BYTES).marks
        except ValueError:
            raise KeyFileError(f"{self.path} is damaged; restore it from a backup") from None

    def put(self, name: str, mark: Mark) -> None:
        """Set the mark of ``name``, which is hexadecimal. Callers must exclude other processes.

        Raises :class:`KeyFileError`.
        """
        marks = {**self.read(), name: mark}
        replace_text(self.path, _Marks(marks=marks).model_dump_json(), mode=_OWNER_ONLY)

    def start_again(self) -> None:
        """Replace a lost or damaged file with one without marks. Raises :class:`KeyFileError`."""
        replace_text(self.path, _Marks(marks={}).model_dump_json(), mode=_OWNER_ONLY)
