"""Receipts and consistency proofs, which can be verified with the log's public key alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.strict_models import StrictModel
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint
from ugsd_privacy.tlog.merkle import (
    NodeReader,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from ugsd_privacy.keys.log import LogPublicKey

__all__ = ["Consistency", "Receipt"]

_MAX_ITEMS = 128
"""Enough for the hashes of the longest proof and the other fields."""

_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class Receipt(StrictModel):
    """Index, inclusion proof and signed checkpoint of one leaf (RFC 9162 §2.1.3). Hashes are hex.

    It proves that the signed log contained the leaf. What the leaf's record says can only be shown
    by the owner, from the ledger.
    """

    index: _Size
    leaf_hash: _Hex
    tree_size: _Size
    root: _Hex
    proof: Annotated[tuple[_Hex, ...], Field(max_length=63)]
    checkpoint: str

    @classmethod
    def of(cls, index: int, signed: Checkpoint, note: str, node: NodeReader) -> Self:
        """Build the receipt of a leaf in the tree signed by ``note``; ``node`` reads the tree."""
        return cls(
            index=index,
            leaf_hash=node(0, index).hex(),
            tree_size=signed.size,
            root=signed.root.hex(),
            proof=tuple(step.hex() for step in inclusion_proof(index, signed.size, node)),
            checkpoint=note,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse the output of ``model_dump_json``. Raises :class:`LogTampered` if it is malformed.

        Do not trust its content before :meth:`verify`.
        """
        try:
            return read_json(cls, text, max_items=_MAX_ITEMS)
        except ValueError as error:
            raise LogTampered(f"not a receipt: {error}") from None

    def verify(self, public: LogPublicKey) -> None:
        """Raise :class:`LogTampered` unless ``public`` signed a tree that contains this leaf."""
        signed = open_checkpoint(self.checkpoint, public)
        if signed.size != self.tree_size or signed.root.hex() != self.root:
            raise LogTampered("the receipt does not match its checkpoint", index=self.index)
        verify_inclusion(
            bytes.fromhex(self.leaf_hash),
            self.index,
            self.tree_size,
            [bytes.fromhex(step) for step in self.proof],
            signed.root,
        )


class Consistency(StrictModel):
    """Two signed checkpoints, and the proof that the later one's tree extends the earlier one's
    (RFC 9162 §2.1.4). Hashes are hex."""

    earlier: str
    later: str
    proof: Annotated[tuple[_Hex, ...], Field(max_length=63)]

    @classmethod
    def of(cls, earlier: str, later: str, public: LogPublicKey, node: NodeReader) -> Self:
        """Build the proof between two checkpoints of a log; ``node`` reads its tree.

        Raises :class:`LogTampered` if there is no proof: the log was rolled back or forked.
        """
        old, new = open_checkpoint(earlier, public), open_checkpoint(later, public)
        steps = consistency_proof(old.size, new.size, node) if 0 < old.size <= new.size else []
        verify_consistency(old.size, new.size, old.root, new.root, steps)
        return cls(earlier=earlier, later=later, proof=tuple(step.hex() for step in steps))

    def verify(self, public: LogPublicKey) -> tuple[int, int]:
        """Return the sizes of both trees. Raises :class:`LogTampered` unless ``public`` signed both
        checkpoints and the proof connects them."""
        old, new = open_checkpoint(self.earlier, public), open_checkpoint(self.later, public)
        steps = [bytes.fromhex(step) for step in self.proof]
        verify_consistency(old.size, new.size, old.root, new.root, steps)
        return old.size, new.size
