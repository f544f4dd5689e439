"""Signs the log of an open ledger: checkpoints, and receipts under them."""

from __future__ import annotations

from functools import cache

from ugsd_privacy.audit.log_signer import LogSigner
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger

__all__ = ["Checkpoints"]


class Checkpoints:
    """Signs the log of ``ledger``, which must be open, with ``log_key``. Threads may share it.

    A method's ``timeout_s`` is how many seconds it waits at most for other threads and processes
    that use the ledger, before it raises :class:`LedgerUnavailable`; ``None`` uses the ledger's own
    limit.
    """

    def __init__(self, *, ledger: Ledger, log_key: LogKey) -> None:
        self._ledger = ledger
        self._signer = LogSigner(log_key)

    def checkpoint(self, *, timeout_s: float | None = None) -> str:
        """Sign, store and return a checkpoint of the current log.

        Raises :class:`LedgerUnavailable`, :class:`LedgerCorrupt`, or :class:`LogTampered` if the
        log does not extend its last checkpoint; then nothing is signed.
        """
        with self._ledger.signing(timeout_s=timeout_s) as log:
            return self._signer.sign(log)[1]

    def receipts(self, caption: bytes, *, timeout_s: float | None = None) -> list[Receipt]:
        """Return receipts for all egress of the caption with this id, under a checkpoint that is
        signed and stored now. Raises as :meth:`checkpoint`."""
        with self._ledger.signing(timeout_s=timeout_s) as log:
            indices, node = log.caption_leaves(caption), cache(log.node)
            if not indices:
                return []
            signed, note = self._signer.sign(log, node)
            return [Receipt.of(index, signed, note, node) for index in indices]
