"""Where the device keeps what must outlive a process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ugsd_privacy.audit.checkpoints import Checkpoints
from ugsd_privacy.audit.owner_acts import OwnerActs
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.egress import Egress
from ugsd_privacy.errors import KeyFileError, LedgerCorrupt, LedgerError, LedgerUnavailable
from ugsd_privacy.files.file_owners import make_private_folder, remedy_of, require_not_writable
from ugsd_privacy.files.marks import MarkFile
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.ledger import BlockDecisionRow, Ledger, UserBudget
from ugsd_privacy.reasons import Reason

from ugsd_sdk.settings.config import AuditSettings

__all__ = ["Home", "NotedBlock", "OpenHome", "UserEgress"]

_SECONDS_PER_DAY = 86_400
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Home:
    """A folder for one device. What the device puts there, only its owner may read."""

    path: Path

    @classmethod
    def from_path(cls, path: Path) -> Home:
        """The home at ``path``, ``~`` expanded; nothing is created."""
        return cls(path.expanduser())

    @property
    def ledger(self) -> Path:
        """Folder of what was charged and of the log."""
        return self.path / "ledger"

    @property
    def anchor(self) -> Path:
        """Outside the ledger's folder, how far it had come: finds one restored from a backup."""
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
        """The key that reads what left; it may be moved off the device."""
        return self.path / "owner.key"

    @property
    def owner_public(self) -> Path:
        """Its public half, which logging needs."""
        return self.path / "owner.pub"

    @property
    def embedded(self) -> Path:
        """Folder of the embedded verifier's key."""
        return self.path / "verifier"

    @property
    def profiles(self) -> Path:
        """Folder of what is known of users' voices."""
        return self.path / "habits"

    @property
    def trust(self) -> Path:
        """Folder of what was seen of verifiers' manifests."""
        return self.path / "trust"

    def is_used(self) -> bool:
        """Whether a ledger or a log key was ever made here. Raises ``LedgerUnavailable``."""
        return _exists(Ledger(self.ledger).path) or _exists(self.log_key)

    def open_ledger(self, *, timeout_s: float | None = None) -> Ledger:
        """The ledger, open; made where neither it nor the log key exists. Waits for other threads
        and processes for ``timeout_s`` at most.

        Raises ``LedgerError``: also where one of the two was lost, since what was charged, or the
        proof of what was sent, would start again in silence, and where the home is not this
        user's own.
        """
        self.require_ours()
        is_new = not _exists(self.log_key)
        ledger = Ledger(self.ledger, create=is_new, anchor=self.anchor)
        ledger.open(timeout_s=timeout_s)
        try:
            self._require_key_for(ledger)
            if is_new:  # before the key: where that exists, the marks must
                self._make_marks()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def require_ours(self) -> None:
        """Raise ``LedgerUnavailable`` where another user owns the home folder, or may exchange it
        or write in it; one that does not exist yet is nobody's."""
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
        """The key that the log's bodies are sealed to; both halves are made for a new log.

        Raises ``KeyFileError``: also where both were lost, and ``LedgerError``.
        """
        if not _exists(self.owner_public):
            with ledger.reading() as view:
                has_leaves = view.size() > 0
            if not _exists(self.owner_key):
                if has_leaves:
                    raise KeyFileError(f"{self.owner_public} was removed; restore it")
                try:
                    OwnerKey.generate().save(self.owner_key)
                except KeyFileError:  # another process was first
                    if not _exists(self.owner_key):
                        raise
            OwnerKey.load(self.owner_key).public.save(self.owner_public)
        if _exists(self.owner_key):
            OwnerKey.load(self.owner_key)  # refused where others may read it
        return OwnerPublicKey.load(self.owner_public)

    def _require_key_for(self, ledger: Ledger) -> None:
        with ledger.reading() as view:
            has_leaves = view.size() > 0
        # In this order: another process makes the key before its first leaf.
        if has_leaves and not _exists(self.log_key):
            raise LedgerCorrupt(
                f"{self.log_key} was removed, though its log has passages; "
                "restore it, or move the home folder away to start again"
            )


class NotedBlock(Protocol):
    """What the journal keeps of a drafted block, as the decoder judged it."""

    @property
    def start(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def uncertainty(self) -> float: ...
    @property
    def outcome(self) -> str: ...
    @property
    def reason(self) -> Reason: ...


@dataclass(frozen=True)
class OpenHome:
    """What a home gives one user while its ledger is open."""

    egress: Egress
    """Seals what is sent; nothing else does."""
    budget: UserBudget
    """Reads what the user used and may still use."""
    checkpoints: Checkpoints
    """Signs the log."""
    acts: OwnerActs
    """Resets the user's budget, and erases what the log keeps of what was sent."""


class UserEgress:
    """The home of one user, opened on first use: without a verifier nothing is created."""

    def __init__(
        self,
        home: Home,
        limits: BudgetLimits,
        user: str,
        *,
        sigma: float | None = None,
        audit: AuditSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``audit`` says what the log keeps, ``sigma`` is the noise's and ``clock`` Unix time, as
        :class:`Egress` takes them."""
        self._home = home
        self._limits = limits
        self._user = user
        self._sigma = sigma
        self._audit = audit or AuditSettings()
        self._clock = clock
        self._ledger: Ledger | None = None
        self._open: OpenHome | None = None
        self._erased_day: int | None = None

    def open(self, *, timeout_s: float | None = None) -> OpenHome:
        """The open home. Raises ``LedgerError`` where ledger or log key cannot be used, or other
        threads and processes kept the ledger for ``timeout_s``.

        A ledger that was moved or replaced since it was opened is closed, and what is at the home
        now is opened by the same rules as in a new process.
        """
        if self._ledger is not None and not self._ledger.is_in_place():
            self.close()
        if self._open is None:
            try:
                make_private_folder(self._home.path)
            except OSError as error:
                remedy = remedy_of(error, self._home.path.parent)
                raise LedgerUnavailable(
                    f"cannot make a home at {self._home.path}: {remedy}"
                ) from error
            except KeyFileError as error:
                raise LedgerUnavailable(str(error)) from error
            # The ledger first: a crash before the key is made leaves a home that can be used.
            self._ledger = self._home.open_ledger(timeout_s=timeout_s)
            try:
                key = LogKey.open_or_create(self._home.log_key)
                owner = self._home.owner(self._ledger)
            except KeyFileError as error:
                self.close()
                raise LedgerUnavailable(f"the log cannot be kept: {error}") from error
            self._open = self._opened(self._ledger, key, owner)
        self._erase_old(self._open.acts)
        return self._open

    def _opened(self, ledger: Ledger, key: LogKey, owner: OwnerPublicKey) -> OpenHome:
        limits, user, clock = self._limits, self._user, self._clock
        egress = Egress(
            ledger=ledger,
            owner=owner,
            level=self._audit.level,
            limits=limits,
            user=user,
            sigma=self._sigma,
            clock=clock,
        )
        return OpenHome(
            egress,
            UserBudget(ledger=ledger, limits=limits, user=user, clock=clock),
            Checkpoints(ledger=ledger, log_key=key),
            OwnerActs(ledger=ledger, user=user, delta=limits.delta, clock=clock),
        )

    def _erase_old(self, acts: OwnerActs) -> None:
        """By whole days, so that at most one record a day tells of it, also while the door stays
        open."""
        days, today = self._audit.retention_days, int(self._clock() // _SECONDS_PER_DAY)
        if days is None or today == self._erased_day:
            return
        try:
            acts.erase(before_s=(today - days) * _SECONDS_PER_DAY)
        except LedgerError as error:  # it is tried anew with the next caption
            _logger.warning("what is old was not erased: %s", type(error).__name__)
        else:
            self._erased_day = today

    def record_decisions(
        self, caption: bytes, blocks: Sequence[NotedBlock], *, timeout_s: float | None = None
    ) -> None:
        """Keep in the journal what became of a caption's blocks, if the ledger is open; wait for
        it for ``timeout_s`` at most. Never raises: a note must not cost a caption."""
        ledger, now_s = self._ledger, int(self._clock())
        if ledger is None:
            return
        decisions = [
            BlockDecisionRow(
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
                owner.append_decisions(decisions)
        except LedgerError as error:
            _logger.warning("decisions were not noted: %s", type(error).__name__)

    def set_caps(self, user: str, caps: Mapping[str, float | None]) -> None:
        """Hold ``user``, or ``ALL_USERS``, to caps on this device; ``None`` takes one back. Raises
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
        raise LedgerUnavailable(f"{path} cannot be looked up: check its permissions") from error
