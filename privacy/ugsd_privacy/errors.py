"""Every error that the privacy layer raises.

::

    PrivacyError
    ├── WireError                bytes that are no canonical message of the schema
    │   └── UnknownVersion       a welcome of another wire version; ``.version`` says which
    ├── ChannelError
    │   ├── HandshakeFailed      wrong pinned key, unknown version, damaged flight
    │   ├── FrameRejected        a frame that is forged, replayed, reordered or damaged
    │   └── ChannelClosed        used before the handshake, or after a failure
    ├── BudgetExceeded           a cap would be passed; ``.cap`` names it
    ├── LedgerError
    │   ├── LedgerUnavailable    locked, full disk, unreadable: nothing may leave
    │   │   └── LedgerMoved      moved, deleted, replaced or linked while it was in use
    │   └── LedgerCorrupt        lost, damaged, or its records do not add up
    ├── LogTampered              the audit log does not verify; ``.index`` says where, if known
    ├── ExportFailed             a file or folder that an export cannot be written to
    ├── WitnessUnavailable       a witness's state that is lost, locked or damaged: it signs nothing
    ├── KeyFileError             a key file that is missing, malformed, readable by others or theirs
    ├── ManifestRejected         a key manifest that is not this root's, or not to be used now
    ├── UserNameRefused          a user's name that is blank, too long, or has unseen characters
    ├── LeakageNotMeasured       no measured leakage of these weights
    └── ReportRejected           an audit report that is malformed, or cannot be written
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "ChannelClosed",
    "ChannelError",
    "ExportFailed",
    "FrameRejected",
    "HandshakeFailed",
    "KeyFileError",
    "LeakageNotMeasured",
    "LedgerCorrupt",
    "LedgerError",
    "LedgerMoved",
    "LedgerUnavailable",
    "LogTampered",
    "ManifestRejected",
    "PrivacyError",
    "ReportRejected",
    "UnknownVersion",
    "UserNameRefused",
    "WireError",
    "WitnessUnavailable",
]


class PrivacyError(Exception):
    """Base of the package's errors."""


class WireError(PrivacyError):
    """Bytes that are no canonical message of the schema."""


class UnknownVersion(WireError):
    """A verifier's welcome of another wire version than this release's."""

    def __init__(self, version: int) -> None:
        super().__init__(f"a welcome of wire version {version}")
        self.version = version


class ChannelError(PrivacyError):
    """Base of the end-to-end session's errors."""


class HandshakeFailed(ChannelError):
    """No session: wrong pinned key, unknown version, or a damaged flight."""


class FrameRejected(ChannelError):
    """A frame that is forged, replayed, reordered or damaged. The channel is closed."""


class ChannelClosed(ChannelError):
    """The channel was used before its handshake or after a failure."""


class BudgetExceeded(PrivacyError):
    """A cap would be passed. Nothing was charged and nothing left."""

    def __init__(self, cap: str, *, limit: float, used: float, wanted: float) -> None:
        super().__init__(f"{cap}: {used:g} used of {limit:g}, {wanted:g} more wanted")
        self.cap = cap
        self.limit = limit
        self.used = used
        self.wanted = wanted


class LedgerError(PrivacyError):
    """Base of the ledger's errors."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be read or written; nothing was charged, so nothing may leave."""


class LedgerMoved(LedgerUnavailable):
    """The ledger's file at its path is not the one that is open any more; nothing was sent."""


class LedgerCorrupt(LedgerError):
    """The ledger was lost or damaged, or its records do not add up; it is refused."""


class LogTampered(PrivacyError):
    """The audit log does not verify; at leaf ``index``, or of ``user``, whom the words name."""

    def __init__(self, message: str, *, index: int | None = None, user: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.user = user


class ExportFailed(PrivacyError):
    """A file or folder that an export cannot be written to; what it held stays."""


class WitnessUnavailable(PrivacyError):
    """A witness's state was lost or damaged, or is locked; it signs nothing."""


class KeyFileError(PrivacyError):
    """A key file that is missing, malformed, readable by others, or owned by them."""


class ManifestRejected(PrivacyError):
    """A key manifest that the root did not sign, or that is malformed or not to be used now."""


class UserNameRefused(PrivacyError, ValueError):
    """A user's name that is blank or too long, has characters that are not seen, or is not in its
    normal form. Also a ``ValueError``: it is an argument."""


class LeakageNotMeasured(PrivacyError):
    """Nobody measured what these weights' states tell, or the figures cannot be read."""


class ReportRejected(PrivacyError):
    """An audit report that is malformed, counts twice, or cannot be written here."""
