"""What a reader keeps of each device's log from one time to the next: its key and a checkpoint.

So a log that was rolled back, replaced by another or withheld is found, whatever its device says.
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
    """One log, as it was verified last."""

    key: Annotated[str, Field(max_length=1024)]
    """A note's verifier key."""
    checkpoint: Annotated[str, Field(max_length=MAX_NOTE_BYTES)]
    size: Annotated[int, Field(ge=0)]
    """Records that the checkpoint is of."""

    @property
    def origin(self) -> str:
        """The name that the key makes, of a sound one."""
        return LogPublicKey.from_text(self.key).origin

    def is_sound(self) -> bool:
        """Whether the checkpoint is of that size, and signed by that key."""
        try:
            return (
                open_checkpoint(self.checkpoint, LogPublicKey.from_text(self.key)).size == self.size
            )
        except (LogTampered, KeyFileError):
            return False


class KnownLogs(StrictModel):
    """Logs by the names of their devices."""

    format: Literal["ugsd-kept/1"] = "ugsd-kept/1"
    named_by: Literal["log", "file"] = "log"
    """What devices' names are of."""
    logs: dict[str, KnownLog] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> KnownLogs:
        """None where there is no such file. Raises :class:`ReportRejected` for another one."""
        if not path.exists():
            return cls()
        try:
            data = read_bounded(path, _MAX_BYTES, ours=True)
            kept = read_json(cls, data, max_items=_MAX_ITEMS, max_keys=_MAX_LOGS)
        except (ValueError, LogTampered):
            raise ReportRejected(f"{path}: not what an earlier fleet report kept") from None
        except KeyFileError as error:
            raise ReportRejected(str(error)) from None
        for name, log in kept.logs.items():
            if not log.is_sound() or (kept.named_by == "log" and name != log.origin):
                told = plain_line(name)
                raise ReportRejected(
                    f"{path}: what was kept of {told} is damaged, or is not of the log of that "
                    "name: restore the file, or delete that entry and believe the log once more"
                )
        return kept

    def updated(self, rows: Iterable[FleetRow]) -> KnownLogs:
        """Add the logs that an export proved this time, the longest of each; the others stay as
        they were kept.

        A known name stays its key's. Of a new name that logs of two keys have this time, nothing
        is kept: which of them came first says nothing of whose the name is.
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
        """Whole or not at all. Raises :class:`ExportFailed`."""
        write_atomically(path, (self.model_dump_json(indent=1) + "\n").encode())
