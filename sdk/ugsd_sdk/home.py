"""The home folder, which holds what must outlive a process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from ugsd_privacy.audit.checkpoints import Checkpoints
from ugsd_privacy.audit.owner_acts import OwnerActs
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.egress import Egress
from ugsd_privacy.errors import KeyFileError, LedgerCorrupt, LedgerError, LedgerUnavailable
from ugsd_privacy.files.file_owners import make_private_folder, remedy_of, require_not_writable
from ugsd_privacy.files.marks import MarkFile
from ugsd_privacy.forks import call_in_children
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.ledger import JournalRow, Ledger, Uptime, UserBudget, system_uptime
from ugsd_privacy.ledger.database import held
from ugsd_privacy.slots import Slots
from ugsd_privacy.reasons import Reason

from ugsd_sdk.settings.config import AuditSettings
from ugsd_sdk.settings.user_paths import expanded

__all__ = ["Home", "JournalBlock", "OpenHome", "UserEgress"]

_SECONDS_PER_DAY = 86_400
_OPENING_S = 10.0
"""How long to wait for another thread that opens the home, without another timeout."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Home:
    """The home folder of one device. Only its owner may read the device's files in it."""

    path: Path

    @classmethod
    def from_path(cls, path: Path) -> Home:
        """Return the home at ``path`` with ``~`` expanded; nothing is created.

        Raises :class:`ConfigError` if ``~`` stands for nothing, as in many containers.
        """
        return cls(expanded(path, "home"))

    @property
    def ledger(self) -> Path:
        """Folder of the ledger, which holds charges and log records."""
        return self.path / "ledger"

    @property
    def anchor(self) -> Path:
        """The anchor, outside the ledger's folder. It exposes a ledger restored from a backup."""
        return self.path / "ledger.anchor"

    @property
    def log_key(self) -> Path:
        """The key that signs the log."""
        return self.path / "log.key"

    @property
    def cosigned(self) -> Path:
        """Folder of the checkpoints that witnesses cosigned."""
        return self.path / "cosigned"

    @property
    def owner_key(self) -> Path:
        """The key that opens the bodies of log records; it may be moved off the device."""
        return self.path / "owner.key"

    @property
    def owner_public(self) -> Path:
        """The public half of the owner's key, which logging needs."""
        return self.path / "owner.pub"

    @property
    def embedded(self) -> Path:
        """Folder of the embedded verifier's key."""
        return self.path / "verifier"

    @property
    def profiles(self) -> Path:
        """Folder of the speaker profiles."""
        return self.path / "habits"

    @property
    def trust(self) -> Path:
        """Folder of the marks of verifiers' manifests that were seen."""
        return self.path / "trust"

    def is_used(self) -> bool:
        """Whether a ledger or a log key was ever created here. Raises ``LedgerUnavailable``."""
        self.require_folder()
        return _exists(Ledger(self.ledger).path) or _exists(self.log_key)

    def require_folder(self) -> None:
        """Raise ``LedgerUnavailable`` if the home's path holds something that is not a folder."""
        if _exists(self.path) and not self.path.is_dir():
            raise LedgerUnavailable(f"{self.path} is not a folder: move it away")

    def open_ledger(self, *, timeout_s: float | None = None) -> Ledger:
        """Open the ledger; create it if neither it nor the log key exists. Wait for other threads
        and processes for at most ``timeout_s``.

        Raises ``LedgerError``, also if one of the two was lost, since charges or the proof of what
        was sent would silently start again, and if the home does not belong to this user.
        """
        self.require_ownership()
        is_new = not _exists(self.log_key)
        ledger = Ledger(self.ledger, create=is_new, anchor=self.anchor)
        ledger.open(timeout_s=timeout_s)
        try:
            self._require_key_for(ledger)
            if is_new:  # before the key, because the marks must exist if the key does
                self._make_marks()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def require_ownership(self) -> None:
        """Raise ``LedgerUnavailable`` if the home folder exists and another user owns it, may
        replace it or may write in it."""
        if not _exists(self.path):
            return
        try:
            require_not_writable(self.path)
        except KeyFileError as error:
            raise LedgerUnavailable(str(error)) from error

    def _make_marks(self) -> None:
        try:
            MarkFile(self.trust).make()
        except KeyFileError as error:
            raise LedgerUnavailable(str(error)) from error

    def owner(self, ledger: Ledger) -> OwnerPublicKey:
        """Return the public key that the log's bodies are sealed to. For a new log both halves are
        created.

        Raises ``LedgerError`` and ``KeyFileError``, also if both halves were lost.
        """
        if not _exists(self.owner_public):
            with ledger.reading() as view:
                has_leaves = view.size() > 0
            if not _exists(self.owner_key):
                if has_leaves:
                    raise KeyFileError(f"{self.owner_public} was removed: restore it from a backup")
                try:
                    OwnerKey.generate().save(self.owner_key)
                except KeyFileError:  # another process may have created it first
                    if not _exists(self.owner_key):
                        raise
            OwnerKey.load(self.owner_key).public.save(self.owner_public)
        if _exists(self.owner_key):
            OwnerKey.load(self.owner_key)  # refused if others may read it
        return OwnerPublicKey.load(self.owner_public)

    def _require_key_for(self, ledger: Ledger) -> None:
        with ledger.reading() as view:
            has_leaves = view.size() > 0
        # In this order, because another process creates the key before its first leaf.
        if has_leaves and not _exists(self.log_key):
            raise LedgerCorrupt(
                f"{self.log_key} was removed, but its log has records: restore it, or move the "
                "home folder away to start again"
            )


class JournalBlock(Protocol):
    """What the journal stores about a drafted block, as the decoder judged it."""

    @property
    def start(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def uncertainty(self) -> float | None: ...
    @property
    def outcome(self) -> str: ...
    @property
    def reason(self) -> Reason: ...


@dataclass(frozen=True)
class OpenHome:
    """The parts of a home that one user needs while its ledger is open."""

    egress: Egress
    """Seals what is sent; nothing else does."""
    budget: UserBudget
    """Reads what the user used and what remains."""
    checkpoints: Checkpoints
    """Signs the log."""
    acts: OwnerActs
    """Resets the user's budget, and erases the logged content of what was sent."""


class UserEgress:
    """A home for one user, opened on first use, so that nothing is created without a verifier."""

    def __init__(
        self,
        home: Home,
        limits: BudgetLimits,
        user: str,
        *,
        sigma: float | None = None,
        audit: AuditSettings | None = None,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = system_uptime,
    ) -> None:
        """Create it without opening the home. ``audit`` says what the log stores; ``sigma`` is the
        noise, ``clock`` the Unix time and ``uptime`` the machine's, as in :class:`Egress`."""
        self._home = home
        self._limits = limits
        self._user = user
        self._sigma = sigma
        self._audit = audit or AuditSettings()
        self._clock = clock
        self._uptime = uptime
        self._ledger: Ledger | None = None
        self._open: OpenHome | None = None
        self._erased_day: int | None = None
        self._opening = Slots()
        """Held while it is opened, which captions and the connection's thread may do at once."""
        call_in_children(self._renew_lock)

    def _renew_lock(self) -> None:
        self._opening = Slots()  # a thread of the parent may have held the other one

    def open(self, *, timeout_s: float | None = None) -> OpenHome:
        """Return the open home. Raises ``LedgerError`` if the ledger or log key cannot be used, or
        if others lock the ledger for longer than ``timeout_s``.

        A ledger that was moved or replaced since it was opened is closed, and the one that is at
        the home now is opened by the same rules as in a new process.
        """
        limit_s = _OPENING_S if timeout_s is None else timeout_s
        with (holder := Lock()), held(self._opening, holder, limit_s):
            return self._opened_home(timeout_s)

    def _opened_home(self, timeout_s: float | None) -> OpenHome:
        if self._ledger is not None and not self._ledger.is_in_place():
            self.close()
        if self._open is None:
            self._home.require_folder()
            try:
                make_private_folder(self._home.path)
            except OSError as error:
                remedy = remedy_of(error, self._home.path.parent)
                raise LedgerUnavailable(
                    f"cannot create a home folder at {self._home.path}: {error.strerror}: {remedy}"
                ) from error
            except KeyFileError as error:
                raise LedgerUnavailable(str(error)) from error
            # The ledger first: after a crash before the key exists, the home can still be used.
            self._ledger = self._home.open_ledger(timeout_s=timeout_s)
            try:
                key = LogKey.open_or_create(self._home.log_key)
                owner = self._home.owner(self._ledger)
            except KeyFileError as error:
                self.close()
                raise LedgerUnavailable(f"the log cannot be written: {error}") from error
            self._open = self._opened(self._ledger, key, owner)
        self._erase_old(self._open.acts)
        return self._open

    def _opened(self, ledger: Ledger, key: LogKey, owner: OwnerPublicKey) -> OpenHome:
        limits, user = self._limits, self._user
        clock, uptime = self._clock, self._uptime
        egress = Egress(
            ledger=ledger,
            owner=owner,
            level=self._audit.level,
            limits=limits,
            user=user,
            sigma=self._sigma,
            clock=clock,
            uptime=uptime,
        )
        return OpenHome(
            egress,
            UserBudget(ledger=ledger, limits=limits, user=user, clock=clock, uptime=uptime),
            Checkpoints(ledger=ledger, log_key=key),
            OwnerActs(ledger=ledger, user=user, delta=limits.delta, clock=clock, uptime=uptime),
        )

    def _erase_old(self, acts: OwnerActs) -> None:
        """Erase by whole days, so that at most one record a day is logged for it, also while the
        home stays open."""
        days, today = self._audit.retention_days, int(self._clock() // _SECONDS_PER_DAY)
        if days is None or today == self._erased_day:
            return
        try:
            acts.erase(before_s=(today - days) * _SECONDS_PER_DAY)
        except LedgerError as error:  # the next caption tries again
            _logger.warning("old records were not erased: %s", type(error).__name__)
        else:
            self._erased_day = today

    def write_journal(
        self, caption: bytes, blocks: Sequence[JournalBlock], *, timeout_s: float | None = None
    ) -> None:
        """Write the outcomes of a caption's blocks to the journal, if the ledger is open; wait for
        it for at most ``timeout_s``. Never raises, because the journal must not cost a caption."""
        ledger, now_s = self._ledger, int(self._clock())
        if ledger is None:
            return
        decisions = [
            JournalRow(
                time_s=now_s,
                user=self._user,
                caption=caption,
                start=block.start,
                tokens=block.num_tokens,
                uncertainty=block.uncertainty,
                outcome=str(block.outcome),
                reason=block.reason,
            )
            for block in blocks
        ]
        try:
            with ledger.as_owner(timeout_s=timeout_s) as owner:
                owner.append_to_journal(decisions)
        except LedgerError as error:
            _logger.warning("decisions were not written to the journal: %s", type(error).__name__)

    def set_caps(self, user: str, caps: Mapping[str, float | None]) -> None:
        """Set caps on this device for ``user`` or ``ALL_USERS``; ``None`` removes a cap. Raises
        ``LedgerError``."""
        self.open()
        assert self._ledger is not None  # noqa: S101
        with self._ledger.as_owner() as owner:
            for cap, value in caps.items():
                owner.set_cap(user, cap, value)

    def close(self) -> None:
        """Close the ledger. May be called again."""
        self._open = None
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise LedgerUnavailable(f"{path} cannot be accessed: check its permissions") from error
