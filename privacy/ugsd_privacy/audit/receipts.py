"""Receipts: proof that a passage is in the log, which needs nothing but the log's public key."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ugsd_privacy.audit.checkpoint import open_checkpoint
from ugsd_privacy.audit.merkle import verify_inclusion
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys import LogPublicKey

__all__ = ["Receipt"]

_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class Receipt(BaseModel):
    """Index, inclusion proof and signed checkpoint of one leaf (RFC 9162 §2.1.3). Hashes are hex.

    It proves that the log committed to the leaf when it signed; what the leaf's record says is for
    the owner to show, from the ledger.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: _Size
    leaf_hash: _Hex
    tree_size: _Size
    root: _Hex
    proof: Annotated[tuple[_Hex, ...], Field(max_length=63)]
    checkpoint: str

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse what ``model_dump_json`` wrote. Raises :class:`LogTampered` for no receipt.

        What it says is not believed before :meth:`verify`.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise LogTampered(f"not a receipt: {error.error_count()} fault(s)") from None

    def verify(self, public: LogPublicKey) -> None:
        """Raise :class:`LogTampered` unless ``public`` signed a tree that holds this leaf."""
        signed = open_checkpoint(self.checkpoint, public)
        if signed.size != self.tree_size or signed.root.hex() != self.root:
            raise LogTampered("the receipt is not about its checkpoint", index=self.index)
        verify_inclusion(
            bytes.fromhex(self.leaf_hash),
            self.index,
            self.tree_size,
            [bytes.fromhex(step) for step in self.proof],
            signed.root,
        )
