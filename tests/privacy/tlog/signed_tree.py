"""A log's tree without a ledger, for tests of signatures."""

from __future__ import annotations

from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.tlog.checkpoint import Checkpoint, sign_checkpoint
from ugsd_privacy.tlog.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    extend_frontier,
    frontier_root,
    leaf_hash,
)
from ugsd_privacy.tlog.witness import AddCheckpoint


class Tree:
    """A log's tree, whose leaves depend on ``name`` from ``fork`` on."""

    def __init__(self, key: LogKey, name: str = "", size: int = 40, fork: int = 0) -> None:
        self.key, self._nodes, self._roots = key, {}, [EMPTY_ROOT]
        frontier: list[bytes] = []
        for index in range(size):
            leaf = f"{name if index >= fork else ''}{index}".encode()
            frontier, nodes = extend_frontier(frontier, index, leaf_hash(leaf))
            self._nodes |= {(node.level, node.position): node.hash for node in nodes}
            self._roots.append(frontier_root(frontier))

    def note(self, size: int) -> str:
        return sign_checkpoint(size, self._roots[size], self.key)

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.key.public.origin, size, self._roots[size])

    def ask(self, old: int, size: int) -> bytes:
        proof = consistency_proof(old, size, lambda *at: self._nodes[at]) if 0 < old <= size else []
        return AddCheckpoint(old, tuple(proof), self.note(size)).to_bytes()
