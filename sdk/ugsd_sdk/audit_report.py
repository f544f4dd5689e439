"""The audit report of a home: its ledger read and verified, in the drafter's words."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ugsd_privacy.audit.cosigned import CosignedNotes
from ugsd_privacy.audit.report.gather import Budget, Entry, Period, gather, read_entries
from ugsd_privacy.audit.report.model import Protection, Report, Verification
from ugsd_privacy.audit.verify import Progress, verify_log
from ugsd_privacy.budget import Usage, Window
from ugsd_privacy.errors import LedgerCorrupt, LogTampered
from ugsd_privacy.keys import LogKey, LogPublicKey
from ugsd_privacy.ledger import Decision, Ledger, Uptime, system_uptime
from ugsd_privacy.ledger.journal import DECISIONS_KEPT
from ugsd_privacy.owner import OwnerKey

from ugsd_sdk.captioner import BUNDLED
from ugsd_sdk.config import EMBEDDED, Settings
from ugsd_sdk.drafter.onnx import pieces_of
from ugsd_sdk.explanation import explain
from ugsd_sdk.home import Home

__all__ = ["audit_report"]

_UNPROTECTED = (
    "which words left, and that a caption was escalated at all: noise does not cover them",
    "when frames left and how many: the network and the verifier see them",
    "anything that another part of the app sends: this log tells of this software's door alone",
    "a log that whoever controls the device rolls back together with its signed checkpoints: "
    "compare the checkpoint below with one that was kept elsewhere",
    "why blocks stayed here: the device notes that outside the log, for the last "
    f"{DECISIONS_KEPT} blocks, and nothing proves it",
)


def audit_report(
    settings: Settings,
    drafter: str,
    period: Period,
    *,
    owner_key: Path | None = None,
    clock: Callable[[], float] = time.time,
    uptime: Callable[[], Uptime | None] = system_uptime,
    progress: Progress = lambda done, of: None,
) -> Report:
    """Of the settings' user; ``drafter``, a name or folder, gives words and figures. ``progress``
    is told how far verification came.

    A home that was never used stays untouched. A log that does not verify is told in the report;
    raises ``LedgerUnavailable``, :class:`ModelError`, and ``KeyFileError`` for an ``owner_key``
    that is not this log's. Without it the home's own is taken, or bodies stay sealed.
    """
    place, read = Home.at(settings.home), _Read(progress)
    folder = Path(__file__).parent / drafter if drafter in BUNDLED else Path(drafter)
    pieces = pieces_of(folder)
    if place.is_used():
        try:
            with place.open_ledger() as ledger:
                owner = _owner(place, owner_key)
                read.ledger(ledger, place, owner, settings.user, (clock(), uptime()))
        except LedgerCorrupt as error:
            read.verification = Verification(outcome="failed", message=str(error))
    return gather(
        read.entries,
        user=settings.user,
        period=period,
        made_s=int(clock()),
        budget=Budget(settings.limits_of(), read.on_device, read.used),
        decisions=read.decisions,
        verification=read.verification,
        protection=_protection(settings, drafter, read.entries),
        words=lambda token: pieces[token] if 0 <= token < len(pieces) else "",
        vocabulary=drafter if drafter in BUNDLED else folder.name,
        log="" if read.public is None else read.public.to_text(),
        checkpoint=read.checkpoint,
    )


class _Read:
    """What a ledger gave, as far as it could be read."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.entries: list[Entry] = []
        self.decisions: list[Decision] = []
        self.on_device: dict[str, float] = {}
        self.used: dict[Window, Usage] = {}
        self.checkpoint = ""
        self.public: LogPublicKey | None = None
        self.verification = Verification(outcome="empty", message="nothing has left yet")

    def ledger(
        self,
        ledger: Ledger,
        place: Home,
        owner: OwnerKey | None,
        user: str,
        now: tuple[float, Uptime | None],
    ) -> None:
        """Read an open ledger; raises ``LedgerCorrupt`` where it cannot be read on."""
        if place.log_key.exists():  # it has no leaves before
            self._verify(ledger, place, owner)
        with ledger.reading() as view:
            last = view.last_checkpoint()
            self.checkpoint = "" if last is None else last[1]
            self.entries = read_entries(view, owner, user)
            self.decisions = view.decisions(user, limit=DECISIONS_KEPT)
            self.on_device = view.caps(user)
            self.used = view.used(user, view.hour_of(*now))

    def _verify(self, ledger: Ledger, place: Home, owner: OwnerKey | None) -> None:
        try:
            self.public = LogKey.load(place.log_key).public
            found = verify_log(
                ledger,
                self.public,
                owner=owner,
                trusted=CosignedNotes(place.cosigned).notes(),
                progress=self._progress,
            )
        except LogTampered as error:
            self.verification = Verification(
                outcome="failed", message=str(error), index=error.index
            )
        except LedgerCorrupt as error:
            self.verification = Verification(outcome="failed", message=str(error))
        else:
            self.verification = Verification(
                outcome="verified" if found.size else "empty",
                message=(
                    "every record, charge, hash and signed checkpoint adds up"
                    if found.size
                    else "nothing has left yet"
                ),
                size=found.size,
                root=found.root.hex(),
                checkpoints=found.checkpoints,
                erased=found.erased,
                unread=found.unread,
            )


def _owner(place: Home, path: Path | None) -> OwnerKey | None:
    if path is None and not place.owner_key.exists():
        return None
    return OwnerKey.load(path or place.owner_key)


def _protection(settings: Settings, drafter: str, entries: list[Entry]) -> Protection:
    """As :func:`explain` tells it; where something left, as if its verifier were still set."""
    used = settings
    if entries and settings.verifier.url is None:
        verifier = settings.verifier.model_copy(update={"url": EMBEDDED})
        used = settings.model_copy(update={"verifier": verifier})
    told = explain(used, drafter)
    others = {str(e.record.disclosure) for e in entries if e.record and e.record.disclosure}
    others -= {str(settings.disclosure)}
    learnt = told.learnt
    if others:
        learnt += (f"of what left as {', '.join(sorted(others))}: not told under these settings",)
    return Protection(
        settings=dict(told.settings) | {"verifier": settings.verifier.url or "none"},
        leaves=told.leaves,
        never=told.never,
        bound=told.bound,
        learnt=learnt,
        source=told.source,
        unprotected=_UNPROTECTED,
    )
