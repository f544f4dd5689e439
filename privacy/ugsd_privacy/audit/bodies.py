"""The record bodies of the log, sealed to its owner.

An *epoch* is a process's secret of 32 random bytes. It is sealed to the owner's key by HPKE (RFC
9180, with the channel's suite) and stored with the first leaf that uses it; the index of that leaf
is the epoch's number. The secret itself stays in memory, so a record needs no public-key operation.
A body's key is HKDF-Expand (RFC 5869) of the secret over the leaf's index and content. The content
commits to salt and body, so one key seals only one plaintext, even if a transaction is rolled back
and repeated; therefore the nonce is fixed. ChaCha20-Poly1305 also binds index and content, as
associated data.

The stored forms of a body::

    (nothing)                           erased by the owner; a record of kind erase names the leaf
    00 || salt || body                  plain: a reset or an erasure, which have no data of a voice
    01 || epoch, 8 bytes || AEAD(salt || body)
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ugsd_privacy.audit.records import SALT_BYTES, UNSEALED_KINDS, EgressRecord, Leaf, decode_record
from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.ledger import LedgerRow, LedgerView

__all__ = [
    "BodyReader",
    "BodyUnavailable",
    "Epoch",
    "StoredBodyChecker",
    "is_sealed",
    "not_erased",
    "plain_body",
]

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_EPOCH_INFO = b"ugsd log epoch\x01"
_BODY_INFO = b"ugsd log body\x01"
_PLAIN, _SEALED = b"\x00", b"\x01"
_NUMBER_BYTES = 8
_SECRET_BYTES = 32
_TAG_BYTES = 16
_NONCE = bytes(12)


class BodyUnavailable(StrEnum):
    """Why a record cannot be read."""

    ERASED = "erased"
    """Its body is missing; :func:`verify_log` checks whether the owner erased it."""
    SEALED = "sealed"
    """Reading it needs the owner's key."""


class Epoch:
    """Seals the bodies of leaf ``number`` and of later ones."""

    __slots__ = ("_secret", "number", "sealed")

    def __init__(self, number: int, secret: bytes, sealed: bytes = b"") -> None:
        self.number = number
        self._secret = secret
        self.sealed = sealed
        """The secret, sealed to the owner."""

    @classmethod
    def create(cls, number: int, secret: bytes, owner: OwnerPublicKey) -> Self:
        """Create an epoch with a new ``secret``, sealed to ``owner``."""
        return cls(number, secret, _SUITE.encrypt(secret, owner.hpke, info=_epoch_info(number)))

    @classmethod
    def open_sealed(cls, number: int, sealed: bytes, owner: OwnerKey) -> Self:
        """Open an epoch sealed by :meth:`create`. Raises :class:`LogTampered`."""
        with suppress(Exception):
            secret = _SUITE.decrypt(sealed, owner.hpke, info=_epoch_info(number))
            if len(secret) == _SECRET_BYTES:
                return cls(number, secret, sealed)
        raise LogTampered(f"the secret of epoch {number} is damaged")

    def seal(self, index: int, content: bytes, salt: bytes, body: bytes) -> bytes:
        """Return the sealed form of the body of leaf ``index``."""
        cipher, bound = self._cipher(index, content)
        return (
            _SEALED
            + self.number.to_bytes(_NUMBER_BYTES, "big")
            + cipher.encrypt(_NONCE, salt + body, bound)
        )

    def open(self, index: int, content: bytes, sealed: bytes) -> bytes:
        """Return salt and body. Raises :class:`LogTampered`."""
        cipher, bound = self._cipher(index, content)
        try:
            return cipher.decrypt(_NONCE, sealed[1 + _NUMBER_BYTES :], bound)
        except InvalidTag:
            raise LogTampered("its sealed body does not belong to its leaf") from None

    def _cipher(self, index: int, content: bytes) -> tuple[ChaCha20Poly1305, bytes]:
        bound = index.to_bytes(_NUMBER_BYTES, "big") + content
        key = HKDFExpand(SHA256(), 32, _BODY_INFO + bound).derive(self._secret)
        return ChaCha20Poly1305(key), bound


def plain_body(salt: bytes, body: bytes) -> bytes:
    """Return the plain form of a body, for records without data of a voice."""
    return _PLAIN + salt + body


def is_sealed(stored: bytes) -> bool:
    """Return whether ``stored`` has the form of a sealed body."""
    least = len(_SEALED) + _NUMBER_BYTES + SALT_BYTES + _TAG_BYTES
    return stored[:1] == _SEALED and len(stored) > least


class StoredBodyChecker:
    """Checks bodies without the owner's key: each must have a valid form, and a record must say
    that each missing one was erased. Add the leaves in order."""

    def __init__(self) -> None:
        self._size = 0
        self._missing: set[int] = set()

    def add(self, index: int, content: bytes, stored: bytes) -> None:
        """Check the next body. Raises :class:`LogTampered`."""
        self._size = index + 1
        if not stored:
            self._missing.add(index)
        elif stored[:1] == _PLAIN:
            record = _opened_record(index, content, stored[1:])
            if record.kind not in UNSEALED_KINDS:
                raise LogTampered(
                    f"record {index} has the wrong form for its kind (sealed or plain)", index=index
                )
            for start, stop in record.erased:
                self._missing.difference_update(range(start, min(stop, self._size)))
        elif not is_sealed(stored):
            raise LogTampered(f"body {index} is neither sealed nor plain", index=index)

    def check_end(self) -> None:
        """Raise :class:`LogTampered` if a body is missing that no record says was erased."""
        if self._missing:
            raise not_erased(min(self._missing))


def not_erased(leaf: int) -> LogTampered:
    """Return the error for a missing body that was not erased."""
    return LogTampered(f"body {leaf} is missing, but no record says that you erased it", index=leaf)


def _opened_record(index: int, content: bytes, opened: bytes) -> EgressRecord:
    """Decode the record in an opened body, and check that leaf ``index`` commits to it. Raises
    :class:`LogTampered`."""
    salt, body = opened[:SALT_BYTES], opened[SALT_BYTES:]
    try:
        record = decode_record(body)
        leaf = Leaf.from_body(body, record.charge, salt).to_bytes()
    except LogTampered as error:
        raise LogTampered(f"record {index}: {error}", index=index) from None
    if leaf != content:
        raise LogTampered(f"record {index} is not what leaf {index} commits to", index=index)
    return record


class BodyReader:
    """Reads the records of a log: all that are not erased, or without the owner's key only plain
    ones."""

    def __init__(self, view: LedgerView, owner: OwnerKey | None = None) -> None:
        self._view = view
        self._owner = owner
        self._epochs: dict[int, Epoch] = {}

    def record(self, row: LedgerRow) -> EgressRecord | BodyUnavailable:
        """Read a leaf's record, and check that the leaf commits to it.

        Raises :class:`LogTampered` with the leaf's index, or :class:`KeyFileError` if the log is
        sealed to another owner's key.
        """
        if not row.sealed:
            return BodyUnavailable.ERASED
        form = row.sealed[:1]
        if form == _SEALED and self._owner is None:
            return BodyUnavailable.SEALED
        index = row.leaf
        try:
            opened = row.sealed[1:] if form == _PLAIN else self._open(row)
        except LogTampered as error:
            raise LogTampered(f"record {index}: {error}", index=index) from None
        record = _opened_record(index, row.content, opened)
        if (form == _PLAIN) != (record.kind in UNSEALED_KINDS):
            raise LogTampered(
                f"record {index} has the wrong form for its kind (sealed or plain)", index=index
            )
        return record

    def _open(self, row: LedgerRow) -> bytes:
        if len(row.sealed) <= 1 + _NUMBER_BYTES or row.sealed[:1] != _SEALED:
            raise LogTampered("its body is neither sealed nor plain")
        number = int.from_bytes(row.sealed[1 : 1 + _NUMBER_BYTES], "big")
        if number not in self._epochs:
            self._epochs[number] = self._epoch(number)
        return self._epochs[number].open(row.leaf, row.content, row.sealed)

    def _epoch(self, number: int) -> Epoch:
        assert self._owner is not None  # noqa: S101
        stored = self._view.epoch(number) if number < 2**63 else None
        if stored is None:
            raise LogTampered(f"epoch {number} is missing")
        digest, sealed = stored
        if digest == self._owner.public.digest:
            return Epoch.open_sealed(number, sealed, self._owner)
        if _opens(number, sealed, self._owner):
            raise LogTampered(f"epoch {number} names another key than the one it is sealed to")
        raise KeyFileError(
            f"the log's bodies are sealed to another key than {self._owner.public.fingerprint};"
            " give the owner.key that was created with this home"
        )


def _opens(number: int, sealed: bytes, owner: OwnerKey) -> bool:
    try:
        Epoch.open_sealed(number, sealed, owner)
    except LogTampered:
        return False
    return True


def _epoch_info(number: int) -> bytes:
    return _EPOCH_INFO + number.to_bytes(_NUMBER_BYTES, "big")
