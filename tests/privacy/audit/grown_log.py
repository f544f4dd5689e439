"""A ledger whose log grows leaf by leaf, without an egress, for tests of readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from ugsd_privacy.audit.log_signer import LogSigner
from ugsd_privacy.audit.records import Leaf
from ugsd_privacy.budget import Usage
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import EgressTransaction, Ledger, LedgerView

FRAME_BYTES, TOKENS = 256, 5
HOUR_S = 3600


SEALED = b"\x01" + bytes(8 + 32 + 16)
"""The start of a sealed body, form and epoch; the rest is readable only by the owner."""


class GrownLog:
    """A log and its key; leaves differ between logs with different ``name``."""

    def __init__(self, ledger: Ledger, key: LogKey, name: bytes) -> None:
        self.ledger = ledger
        self.key = key
        self._name = name

    def grow(self, size: int) -> str:
        """Append leaves up to ``size``; sign a checkpoint."""
        with closing(sqlite3.connect(self.ledger.path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # fast: the tests only read
            db.execute("BEGIN IMMEDIATE")
            for index in range(LedgerView(db).size(), size):
                transaction = EgressTransaction(
                    db, "", None, HOUR_S * (472_000 + index // 100), None
                )
                leaf = Leaf(
                    sha256(self._name + str(index).encode()).digest(), FRAME_BYTES, 1, TOKENS
                )
                transaction.record(
                    Usage(1, TOKENS, 1, FRAME_BYTES, 0),
                    content=leaf.to_bytes(),
                    sealed=SEALED + b"body %d" % index,
                )
            db.execute("COMMIT")
        with self.ledger.signing() as log:
            return LogSigner(self.key).sign(log)[1]

    def edit(self, *statements: str) -> None:
        """Tamper with the ledger's file."""
        db = sqlite3.connect(self.ledger.path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()


@contextmanager
def grown_log(folder: Path, key: LogKey, size: int = 0, *, name: bytes = b"") -> Iterator[GrownLog]:
    """Yield a log of ``size`` leaves."""
    with Ledger(folder) as ledger:
        log = GrownLog(ledger, key, name)
        log.grow(size)
        yield log
