"""Signs the current log, but only if it extends what was signed before."""

from __future__ import annotations

from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import SigningTransaction
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ugsd_privacy.tlog.merkle import (
    NodeReader,
    consistency_proof,
    tree_root,
    verify_consistency,
)

__all__ = ["LogSigner"]


class LogSigner:
    """Signs checkpoints with ``key`` and stores them in the ledger."""

    def __init__(self, key: LogKey) -> None:
        self._key = key
        self._last: tuple[str, Checkpoint] | None = None
        """Our last note, parsed; its signature needs no check."""

    def sign(
        self, log: SigningTransaction, node: NodeReader | None = None
    ) -> tuple[Checkpoint, str]:
        """Sign and store a checkpoint of ``log`` within its transaction; ``node`` reads its tree.

        Raises :class:`LogTampered` if the log does not extend its last checkpoint; then nothing is
        signed.
        """
        read = node or log.node
        size, last = log.size(), log.last_checkpoint()
        root = tree_root(size, read)
        if last is not None:
            old = self._open(last[1])
            proof = consistency_proof(old.size, size, read) if 0 < old.size <= size else []
            verify_consistency(old.size, size, old.root, root, proof)
        note = sign_checkpoint(size, root, self._key)
        log.add_checkpoint(size, note)
        signed = Checkpoint(self._key.public.origin, size, root)
        self._last = note, signed
        return signed, note

    def _open(self, note: str) -> Checkpoint:
        if self._last is not None and self._last[0] == note:
            return self._last[1]
        return open_checkpoint(note, self._key.public)
