"""The logs that a reader knows from earlier fleet reports, each with its key and a checkpoint.

They expose a log that was rolled back, replaced or withheld, whatever its device reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import KeyFileError, LogTampered, ReportRejected
from ugsd_privacy.files.atomic_files import read_bounded, write_atomically
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.fleet_model import FleetRow
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.tlog.checkpoint import open_checkpoint
from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES

__all__ = ["KnownLog", "KnownLogs"]

_MAX_BYTES = 64 * 2**20
_MAX_LOGS = 100_000
_MAX_ITEMS = 4 * _MAX_LOGS


class KnownLog(StrictModel):
    """One log, as it was when it was last verified."""

    key: Annotated[str, Field(max_length=1024)]
    """The log's public key, in the format of a note's verifier key."""
    checkpoint: Annotated[str, Field(max_length=MAX_NOTE_BYTES)]
    size: Annotated[int, Field(ge=0)]
    """Number of records under the checkpoint."""

    @property
    def origin(self) -> str:
        """The name of the log, derived from its key, which must be sound."""
        return LogPublicKey.from_text(self.key).origin

    def is_sound(self) -> bool:
        """Return whether the checkpoint has this size and is signed by this key."""
        try:
            return (
                open_checkpoint(self.checkpoint, LogPublicKey.from_text(self.key)).size == self.size
            )
        except (LogTampered, KeyFileError):
            return False


class KnownLogs(StrictModel):
    """Known logs by the names of their devices."""

    format: Literal["ugsd-kept/1"] = "ugsd-kept/1"
    named_by: Literal["log", "file"] = "log"
    """Whether a device is named by its log or by its file."""
    logs: dict[str, KnownLog] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> KnownLogs:
        """Read them from ``path``; there are none if it does not exist.

        Raises :class:`ReportRejected` if the file is not one of known logs, or is damaged.
        """
        if not path.exists():
            return cls()
        try:
            data = read_bounded(path, _MAX_BYTES, ours=True)
            known = read_json(cls, data, max_items=_MAX_ITEMS, max_keys=_MAX_LOGS)
        except (ValueError, LogTampered):
            raise ReportRejected(
                f"{path} is not a file of known logs from an earlier fleet report: restore it, or "
                "give a new path"
            ) from None
        except KeyFileError as error:
            raise ReportRejected(str(error)) from None
        for name, log in known.logs.items():
            if not log.is_sound() or (known.named_by == "log" and name != log.origin):
                raise ReportRejected(
                    f"{path}: the entry of {plain_line(name)} is damaged, or belongs to another "
                    "log: restore the file, or delete the entry to trust the log again"
                )
        return known

    def updated(self, rows: Iterable[FleetRow]) -> KnownLogs:
        """Return a copy with the logs that an export proved this time, the longest of each.

        A known name keeps its key. A new name that logs with different keys have this time is not
        added: their order does not show which of them owns the name.
        """
        proven = [
            row
            for row in rows
            if row.logged is not None and row.verification.outcome in {"verified", "empty"}
        ]
        keys: dict[str, set[str]] = {name: {log.key} for name, log in self.logs.items()}
        for row in proven:
            if row.device not in self.logs:
                keys.setdefault(row.device, set()).add(row.log)
        logs = dict(self.logs)
        for row in sorted(proven, key=lambda row: row.verification.size):
            if keys[row.device] == {row.log}:
                size, before = row.verification.size, logs.get(row.device)
                if before is None or before.size <= size:
                    logs[row.device] = KnownLog(key=row.log, checkpoint=row.checkpoint, size=size)
        return self.model_copy(update={"logs": logs})

    def save(self, path: Path) -> None:
        """Write them to ``path`` atomically. Raises :class:`ExportFailed`."""
        write_atomically(path, (self.model_dump_json(indent=1) + "\n").encode())
