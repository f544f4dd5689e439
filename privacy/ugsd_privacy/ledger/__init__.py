"""The durable store of charges and log records, in SQLite.

Each egress is one transaction. It checks what was used, and writes the charge, the totals of its
windows, the leaf, the record's body and salt, and the Merkle nodes that the leaf completes. It is
on disk before its frame may be sent (write-ahead log, ``synchronous=FULL``). A checkpoint is
derived from leaves that are on disk already, so it does not wait for the disk: a power cut may lose
the latest one.

Any number of threads and processes may share a ledger: each egress begins with ``BEGIN IMMEDIATE``,
so they happen one after the other.
"""

from __future__ import annotations

from ugsd_privacy.ledger.clock import Uptime, system_uptime
from ugsd_privacy.ledger.journal import NO_QUESTIONS, JournalRow, Questions
from ugsd_privacy.ledger.store import Ledger
from ugsd_privacy.ledger.user_budget import BudgetStanding, UserBudget
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
    "NO_QUESTIONS",
    "BudgetStanding",
    "EgressTransaction",
    "JournalRow",
    "Ledger",
    "LedgerRow",
    "LedgerView",
    "OwnerTransaction",
    "Questions",
    "SigningTransaction",
    "Total",
    "Uptime",
    "UserBudget",
    "system_uptime",
    "window_numbers",
]
