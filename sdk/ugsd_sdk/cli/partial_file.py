"""A file of captions that is written as they are made, and continued after an interruption.

Lines are written to ``NAME.partial``, each at once; the file gets its name when all of them are
there. So a file of that name is always complete, and what an interruption left can be continued.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import typer
from ugsd_privacy.errors import ExportFailed
from ugsd_privacy.files.atomic_files import atomic_writer

__all__ = ["PartialFile"]


class PartialFile:
    """Writes ``path`` by way of ``path.partial``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._file: BinaryIO | None = None

    def begin(self, header: str, *, force: bool) -> None:
        """Start a new file. Raises :class:`typer.BadParameter` if there is one, unless ``force``,
        and :class:`ExportFailed`."""
        left = "was left by an interrupted run"
        for found, what in ((self.path, "exists"), (self.partial, left)):
            if not force and os.path.lexists(found):
                raise typer.BadParameter(
                    f"{found} {what}: add --resume to continue it, or --force to replace it"
                )
        self._open("wb")
        self.write(header)

    def resume(self, header: str, key_of: Callable[[str], str | None]) -> set[str]:
        """Continue what an earlier run left, and return the keys of its lines.

        ``key_of`` returns the key of a line, ``None`` for one that is to be written again, and
        raises :class:`ValueError` for one that no run wrote. A last line that is not whole is
        dropped. Raises :class:`ExportFailed`.
        """
        earlier = next((one for one in (self.partial, self.path) if one.exists()), None)
        if earlier is None:
            self.begin(header, force=False)
            return set()
        keys = set()
        try:
            with earlier.open("rb") as old, atomic_writer(self.partial) as new:
                new.write(header.encode())
                for number, data in enumerate(old, 1):
                    if not data.endswith(b"\n"):  # torn
                        break
                    if number == 1 and header:
                        self._require_header(header, data, earlier)
                        continue
                    key = self._key(key_of, data, earlier, number)
                    if key is not None:
                        keys.add(key)
                        new.write(data)
        except OSError as error:
            raise ExportFailed(
                f"cannot continue {earlier}: {error.strerror}: check its permissions and the space "
                "on the disk"
            ) from error
        self._open("ab")
        return keys

    def write(self, text: str) -> None:
        """Write whole lines at once. Raises :class:`ExportFailed`."""
        assert self._file is not None, "begin() or resume() comes first"  # noqa: S101
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise ExportFailed(
                f"cannot write {self.partial}: {error.strerror}: make room, then add --resume"
            ) from error

    def finish(self) -> None:
        """Give the file its name. Raises :class:`ExportFailed`."""
        assert self._file is not None, "begin() or resume() comes first"  # noqa: S101
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self.partial.replace(self.path)
        except OSError as error:
            raise ExportFailed(
                f"cannot write {self.path}: {error.strerror}: make room or free the name, then add "
                "--resume"
            ) from error

    def close(self) -> None:
        """Close the file and leave it as it is."""
        if self._file is not None:
            self._file.close()

    def _open(self, mode: str) -> None:
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.partial.open(mode)  # type: ignore[assignment]
        except OSError as error:
            raise ExportFailed(
                f"cannot write {self.partial}: {error.strerror}: check the folder's permissions, "
                "or give another --out"
            ) from error

    @staticmethod
    def _require_header(header: str, data: bytes, path: Path) -> None:
        if data != header.encode():
            raise _foreign(path, 1)

    @staticmethod
    def _key(
        key_of: Callable[[str], str | None], data: bytes, path: Path, number: int
    ) -> str | None:
        try:
            return key_of(data.decode())
        except ValueError:
            raise _foreign(path, number) from None


def _foreign(path: Path, number: int) -> ExportFailed:
    return ExportFailed(
        f"line {number} of {path} was not written by this command with this format: give another "
        "--out"
    )
