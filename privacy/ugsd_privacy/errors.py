"""The base of every error of this distribution, and every error that the privacy layer raises.

::

    UgsdError                        of every package: catch it to catch them all
    ├── WrongType                    an argument is of a wrong type; it is a ``TypeError`` too
    └── PrivacyError
        ├── WireError                bytes that are not a canonical message of the schema
        │   └── UnknownVersion       a welcome of another wire version, which is ``.version``
        ├── ChannelError
        │   ├── HandshakeFailed      wrong pinned key, unknown version, damaged message
        │   ├── FrameRejected        a frame that is forged, replayed, reordered or damaged
        │   └── ChannelClosed        used before the handshake, or after a failure
        ├── BudgetExceeded           a cap would be exceeded; ``.cap`` names it
        ├── LedgerError
        │   ├── LedgerUnavailable    locked, full disk, unreadable: nothing may be sent
        │   │   └── LedgerMoved      moved, deleted, replaced or linked while it was in use
        │   └── LedgerCorrupt        lost, damaged, or its records do not add up
        ├── LogTampered              the log does not verify; ``.index`` is the record if known
        │   └── LogOfAnotherVersion  written by another release, which alone can verify it
        ├── ExportFailed             an export cannot be written to a file or folder
        ├── FileLocked               another process or thread has locked a file or folder
        ├── WitnessUnavailable       a witness's state is lost, locked or damaged: it signs nothing
        ├── KeyFileError             a key file is missing, malformed, or others' to read or own
        ├── ManifestRejected         a key manifest is not signed by the root, or not valid now
        ├── UserNameRefused          a user's name is blank, too long, or has invisible characters
        ├── RecordingRefused         the id of a recording is not 16 bytes
        ├── LeakageNotMeasured       the leakage of these weights was not measured
        └── ReportRejected           an audit report is malformed, or cannot be written
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "ChannelClosed",
    "ChannelError",
    "ExportFailed",
    "FileLocked",
    "FrameRejected",
    "HandshakeFailed",
    "KeyFileError",
    "LeakageNotMeasured",
    "LedgerCorrupt",
    "LedgerError",
    "LedgerMoved",
    "LedgerUnavailable",
    "LogOfAnotherVersion",
    "LogTampered",
    "ManifestRejected",
    "PrivacyError",
    "RecordingRefused",
    "ReportRejected",
    "UgsdError",
    "UnknownVersion",
    "UserNameRefused",
    "WireError",
    "WitnessUnavailable",
    "WrongType",
]


class UgsdError(Exception):
    """Base of all errors of the packages ``ugsd_sdk``, ``ugsd_privacy``, ``ugsd_server`` and
    ``ugsd_lab``."""


class WrongType(UgsdError, TypeError):
    """An argument is of a type that nothing can be done with."""


class PrivacyError(UgsdError):
    """Base of the package's errors."""


class WireError(PrivacyError):
    """The bytes are not a canonical message of the schema."""


class UnknownVersion(WireError):
    """A verifier's welcome has another wire version than this release."""

    def __init__(self, version: int) -> None:
        super().__init__(f"a welcome of wire version {version}")
        self.version = version


class ChannelError(PrivacyError):
    """Base of the end-to-end session's errors."""


class HandshakeFailed(ChannelError):
    """There is no session: wrong pinned key, unknown version, or a damaged message."""


class FrameRejected(ChannelError):
    """A frame is forged, replayed, reordered or damaged. The channel is closed."""


class ChannelClosed(ChannelError):
    """The channel was used before its handshake or after a failure."""


class BudgetExceeded(PrivacyError):
    """A cap would be exceeded. Nothing was charged and nothing was sent."""

    def __init__(self, cap: str, *, limit: float, used: float, wanted: float) -> None:
        super().__init__(f"{cap}: {used:g} used of {limit:g}, {wanted:g} more wanted")
        self.cap = cap
        self.limit = limit
        self.used = used
        self.wanted = wanted


class LedgerError(PrivacyError):
    """Base of the ledger's errors."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be read or written; nothing was charged, so nothing may be sent."""


class LedgerMoved(LedgerUnavailable):
    """The file at the ledger's path is no longer the one that is open; nothing was sent."""


class LedgerCorrupt(LedgerError):
    """The ledger was lost or damaged, or its records do not add up; it is refused."""


class LogTampered(PrivacyError):
    """The audit log does not verify.

    The fault is at leaf ``index`` if that is given, or in an amount of ``user``, whose name is in
    the message.
    """

    def __init__(self, message: str, *, index: int | None = None, user: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.user = user


class LogOfAnotherVersion(LogTampered):
    """A log, a leaf or a record has the version of another release, which alone can verify it.

    Whoever alters a log can alter its version too, so it counts as one that does not verify.
    """


class ExportFailed(PrivacyError):
    """An export cannot be written to a file or folder; its earlier content is unchanged."""


class FileLocked(PrivacyError):
    """Another process or thread kept a file or folder locked until the deadline."""


class WitnessUnavailable(PrivacyError):
    """A witness's state is lost, damaged or locked; it signs nothing."""


class KeyFileError(PrivacyError):
    """A key file is missing, malformed, or readable or owned by others."""


class ManifestRejected(PrivacyError):
    """A key manifest is not signed by the root, malformed, or not valid now."""


class UserNameRefused(PrivacyError, ValueError):
    """A user's name is blank, too long, has invisible characters, or is not in its normal form.

    Also a ``ValueError``, because the name is an argument.
    """


class RecordingRefused(PrivacyError, ValueError):
    """The id of a recording is not 16 bytes. Also a ``ValueError``, because it is an argument."""


class LeakageNotMeasured(PrivacyError):
    """The leakage of these weights was not measured, or the figures cannot be read."""


class ReportRejected(PrivacyError):
    """An audit report is malformed, counts something twice, or cannot be written here."""
