"""The Merkle tree of RFC 6962 §2.1 and RFC 9162 §2.1, as pure functions.

Hashes are SHA-256, 32 bytes. ``node(level, position)`` reads the hash of the full subtree over
the leaves ``[position << level, (position + 1) << level)``; with these stored, roots and proofs
need O(log n) reads. A *frontier* (compact range) lists the full subtrees of a tree, largest first:
one per set bit of its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ugsd_privacy.errors import LogTampered

__all__ = [
    "EMPTY_ROOT",
    "Node",
    "NodeReader",
    "completed_nodes",
    "consistency_proof",
    "extend_frontier",
    "frontier_positions",
    "frontier_root",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "tree_root",
    "verify_consistency",
    "verify_inclusion",
]

NodeReader = Callable[[int, int], bytes]

_LEAF_PREFIX, _NODE_PREFIX = b"\x00", b"\x01"

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the empty tree."""


class Node(NamedTuple):
    """A full subtree over ``2**level`` leaves, starting at leaf ``position << level``."""

    level: int
    position: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """Return ``SHA-256(0x00 || leaf)``."""
    return hashlib.sha256(_LEAF_PREFIX + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return ``SHA-256(0x01 || left || right)``."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


def frontier_positions(size: int) -> list[tuple[int, int]]:
    """Return level and position of each full subtree of ``size`` leaves, largest first."""
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    return [(level, (size >> level) - 1) for level in reversed(levels)]


def extend_frontier(
    frontier: Sequence[bytes], size: int, leaf: bytes
) -> tuple[list[bytes], list[Node]]:
    """Append a leaf's hash to a tree of ``size`` leaves; return the new frontier and new nodes."""
    rest = list(frontier)
    nodes = completed_nodes(size, leaf, lambda *_: rest.pop())
    return [*rest, nodes[-1].hash], nodes


def completed_nodes(size: int, leaf: bytes, node: NodeReader) -> list[Node]:
    """Return the full subtrees that a new leaf completes in a tree of ``size`` leaves, the leaf
    first."""
    nodes = [Node(0, size, leaf)]
    while nodes[-1].position & 1:
        level, position, right = nodes[-1]
        left = node(level, position - 1)
        nodes.append(Node(level + 1, position >> 1, node_hash(left, right)))
    return nodes


def frontier_root(frontier: Sequence[bytes]) -> bytes:
    """Return the root of the tree with this frontier."""
    if not frontier:
        return EMPTY_ROOT
    *rest, root = frontier
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def tree_root(size: int, node: NodeReader) -> bytes:
    """Return the root over the first ``size`` leaves."""
    return frontier_root([node(*position) for position in frontier_positions(size)])


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Return ``PATH(index, D[size])``, RFC 6962 §2.1.1; ``0 <= index < size``."""
    start, end, path = 0, size, list[bytes]()
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, node))
            end = middle
        else:
            path.append(_range_root(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Return ``PROOF(old, D[new])``, RFC 6962 §2.1.2; ``0 < old <= new``."""
    start, end, path = 0, new, list[bytes]()
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_root(middle, end, node))
            end = middle
        else:
            path.append(_range_root(start, middle, node))
            start = middle
    if start:  # the old tree is not a subtree of the new one, so the verifier lacks its last part
        path.append(_range_root(start, end, node))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify by RFC 9162 §2.1.3.2. ``leaf`` is the leaf's hash. Raises :class:`LogTampered`."""
    if not 0 <= index < size:
        raise LogTampered(f"a tree of {size} leaves has no leaf {index}", index=index)
    position, last, computed = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise LogTampered("the inclusion proof is too long", index=index)
        if position & 1 or position == last:
            computed = node_hash(step, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, step)
        position, last = position >> 1, last >> 1
    if last or computed != root:
        raise LogTampered("the inclusion proof does not lead to the root", index=index)


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verify by RFC 9162 §2.1.4.2; also accept an empty or equal tree. Raises LogTampered."""
    if not 0 <= old <= new:
        raise LogTampered(f"a tree of {new} leaves does not extend one of {old}")
    if old in (0, new):
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise LogTampered("the consistency proof does not connect the roots")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise LogTampered("the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for step in path[1:]:
        if last == 0:
            raise LogTampered("the consistency proof is too long")
        if position & 1 or position == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, step)
        position, last = position >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise LogTampered("the consistency proof does not connect the roots")


def _split(n: int) -> int:
    """Return the largest power of two below ``n`` (k in RFC 6962 §2.1); ``n > 1``."""
    return 1 << ((n - 1).bit_length() - 1)


def _range_root(start: int, end: int, node: NodeReader) -> bytes:
    """Return ``MTH(D[start:end])`` of a range that occurs in the recursion of RFC 6962."""
    parts, at = list[bytes](), start
    for level, _ in frontier_positions(end - start):
        parts.append(node(level, at >> level))
        at += 1 << level
    return frontier_root(parts)
