"""Verification of a home's log against every stored checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ugsd_privacy.audit.cosigned import CosignedNotes
from ugsd_privacy.audit.verify import LogSummary, Progress, verify_view
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import LedgerView

from ugsd_sdk.home import Home

__all__ = ["open_view", "owner_of", "verify_home"]


@contextmanager
def open_view(place: Home) -> Iterator[LedgerView | None]:
    """Open one view of a home's ledger. Yields ``None``, and creates nothing, if there is no log.

    Raises ``LedgerError``.
    """
    if not place.is_used():
        yield None
        return
    with place.open_ledger() as ledger, ledger.reading() as view:
        yield view


def verify_home(
    place: Home,
    view: LedgerView | None,
    *,
    owner: OwnerKey | None = None,
    trusted: Iterable[str] = (),
    progress: Progress = lambda done, of: None,
) -> LogSummary | None:
    """Verify the log in ``view`` against ``trusted`` checkpoints and those that witnesses cosigned.

    ``owner`` opens the bodies. Returns ``None`` if there is no log yet. Raises ``LogTampered``,
    ``LedgerError`` or ``KeyFileError``.
    """
    cosigned = CosignedNotes(place.cosigned)
    if (
        view is None or not place.log_key.exists()
    ):  # there are no leaves: the key is created before the first
        if [*trusted, *cosigned.notes()]:
            raise LogTampered("truncated: checkpoints were signed, but the log is gone", index=0)
        return None
    public = LogKey.load(place.log_key).public
    notes = [*trusted, *cosigned.notes(public)]
    return verify_view(view, public, owner=owner, trusted=notes, progress=progress)


def owner_of(place: Home, path: Path | None) -> OwnerKey | None:
    """Return the owner's key at ``path``, by default the home's, if it is there. Raises
    ``KeyFileError``."""
    if path is None and not place.owner_key.exists():
        return None
    return OwnerKey.load(path or place.owner_key)
