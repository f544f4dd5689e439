"""The durable store: what was charged, and the log of what left. SQLite, nothing else.

One passage is one transaction, which checks what was used, and writes the charge, the totals of its
windows, the leaf, the record's body and salt, and the Merkle nodes that the leaf completes. It is
on disk before its frame may leave (write-ahead log, ``synchronous=FULL``). A checkpoint is derived
from leaves that are on disk already, so it does not wait for the disk: a power cut may lose the
latest.

Any number of threads and processes may share a ledger: a passage begins with ``BEGIN IMMEDIATE``,
so passages happen one after the other.
"""

from __future__ import annotations

from ugsd_privacy.ledger.clock import Uptime, system_uptime
from ugsd_privacy.ledger.decisions import BlockDecisionRow
from ugsd_privacy.ledger.store import Ledger
from ugsd_privacy.ledger.views import (
    ALL_USERS,
    EgressTransaction,
    LedgerRow,
    LedgerView,
    OwnerTransaction,
    SigningTransaction,
    Total,
    window_numbers,
)

__all__ = [
    "ALL_USERS",
    "BlockDecisionRow",
    "EgressTransaction",
    "Ledger",
    "LedgerRow",
    "LedgerView",
    "OwnerTransaction",
    "SigningTransaction",
    "Total",
    "Uptime",
    "system_uptime",
    "window_numbers",
]
