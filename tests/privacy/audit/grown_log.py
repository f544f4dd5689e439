"""A ledger whose log grows leaf by leaf, without a door, for tests of what others read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from ugsd_privacy.audit.records import Leaf
from ugsd_privacy.audit.signing import LogSigner
from ugsd_privacy.budget import Usage
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import EgressTransaction, Ledger, LedgerView

FRAME_BYTES, TOKENS = 256, 5
HOUR_S = 3600


SEALED = b"\x01" + bytes(8 + 32 + 16)
"""As a sealed body begins: form and epoch; what follows only the owner could read."""


class GrownLog:
    """A log and its key; its leaves are unlike those of one by another ``name``."""

    def __init__(self, ledger: Ledger, key: LogKey, name: bytes) -> None:
        self.ledger = ledger
        self.key = key
        self._name = name

    def grow(self, size: int) -> str:
        """Append leaves up to ``size``; sign a checkpoint."""
        with closing(sqlite3.connect(self.ledger.path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # all at once: the tests are of what is read
            db.execute("BEGIN IMMEDIATE")
            for index in range(LedgerView(db).size(), size):
                passage = EgressTransaction(db, "", None, HOUR_S * (472_000 + index // 100), None)
                leaf = Leaf(
                    sha256(self._name + str(index).encode()).digest(), FRAME_BYTES, 1, TOKENS
                )
                passage.record(
                    Usage(1, TOKENS, 1, FRAME_BYTES, 0),
                    content=leaf.to_bytes(),
                    sealed=SEALED + b"body %d" % index,
                )
            db.execute("COMMIT")
        with self.ledger.signing() as log:
            return LogSigner(self.key).sign(log)[1]

    def edit(self, *statements: str) -> None:
        """Tamper with the file."""
        db = sqlite3.connect(self.ledger.path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()


@contextmanager
def grown_log(folder: Path, key: LogKey, size: int = 0, *, name: bytes = b"") -> Iterator[GrownLog]:
    """A log of so many leaves."""
    with Ledger(folder) as ledger:
        log = GrownLog(ledger, key, name)
        log.grow(size)
        yield log
