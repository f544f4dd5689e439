"""A log key that signs in the name of another key's log, as anyone could make one."""

from __future__ import annotations

from pathlib import Path

from ugsd_privacy.audit.export import export_log
from ugsd_privacy.keys.log import LogKey, LogPublicKey, NotePublicKey
from ugsd_privacy.ledger import LedgerView
from ugsd_privacy.tlog.checkpoint import sign_checkpoint


class Named(NotePublicKey):
    """A public key with a chosen name, for a log that has another one."""


def impostor_of(victim: LogPublicKey) -> LogKey:
    """Return a fresh key that uses the name of the victim's log."""
    key = LogKey.generate()
    key._public = Named(victim.origin, key.public.raw)  # type: ignore[assignment]
    return key


def forged_export(view: LedgerView, key: LogKey, path: Path) -> Path:
    """Export the log of ``view``, signed and sealed by ``key`` under any name."""
    note = sign_checkpoint(view.size(), view.root(view.size()), key)
    with path.open("wb") as file:
        export_log(view, note, key, file)
    return path
