"""The key of a log's owner: record bodies are sealed to it, so that nobody else can read them.

A device needs only the public key to write its log; the private key may be stored elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.key_files import create_private, from_text, read_key, replace_text, to_text
from ugsd_privacy.keys.verifier import VerifierPublicKey

__all__ = ["OwnerKey", "OwnerPublicKey"]

_SECRET_PREFIX = "ugsd-osk1:"  # noqa: S105  (a label)
_PUBLIC_PREFIX = "ugsd-ok1:"
_MLKEM_SEED_BYTES, _X25519_BYTES = 64, 32


class OwnerPublicKey:
    """An owner's X-Wing public key: 1216 bytes, with the same layout as a verifier's."""

    __slots__ = ("_key",)

    def __init__(self, raw: bytes) -> None:
        """Raises :class:`KeyFileError` unless ``raw`` is a valid public key."""
        try:
            self._key = VerifierPublicKey(raw)
        except KeyFileError:
            raise KeyFileError("not an owner's public key") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`. Raises :class:`KeyFileError`."""
        return read_key(Path(path), cls._from_text, secret=False, other_half="owner.pub")

    @classmethod
    def _from_text(cls, text: str) -> Self:
        return cls(from_text(text, _PUBLIC_PREFIX, "an owner's public key"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``path``, replacing the file. Raises :class:`KeyFileError`."""
        replace_text(Path(path), to_text(self._key.raw, _PUBLIC_PREFIX), mode=0o600)

    @property
    def hpke(self) -> MLKEM768X25519PublicKey:
        """The recipient key for HPKE with ``KEM.MLKEM768_X25519``."""
        return self._key.hpke

    @property
    def digest(self) -> bytes:
        """SHA-256 of the key, 32 bytes; it identifies the owner to whom an epoch is sealed."""
        return hashlib.sha256(self._key.raw).digest()

    @property
    def fingerprint(self) -> str:
        """The fingerprint that people compare."""
        return self._key.fingerprint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnerPublicKey) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<OwnerPublicKey {self.fingerprint}>"


class OwnerKey:
    """An owner's private X-Wing key, which opens the record bodies of the log."""

    __slots__ = ("_seeds", "hpke", "public")

    def __init__(self, seeds: bytes) -> None:
        """``seeds`` are the 64 bytes of ML-KEM-768, then the 32 bytes of X25519."""
        if len(seeds) != _MLKEM_SEED_BYTES + _X25519_BYTES:
            raise KeyFileError("the owner's key is incomplete")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[:_MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(seeds[_MLKEM_SEED_BYTES:])
        self._seeds = seeds
        self.hpke = MLKEM768X25519PrivateKey(mlkem, x25519)
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.public = OwnerPublicKey(public)

    @classmethod
    def generate(cls) -> Self:
        """Generate a key from the operating system's randomness."""
        return cls(os.urandom(_MLKEM_SEED_BYTES + _X25519_BYTES))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        return read_key(
            Path(path), cls._from_text, secret=True, other_half="owner.key", what="owner's key"
        )

    @classmethod
    def _from_text(cls, text: str) -> Self:
        return cls(from_text(text, _SECRET_PREFIX, "an owner's private key"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        create_private(Path(path), to_text(self._seeds, _SECRET_PREFIX))

    def __repr__(self) -> str:
        return f"<OwnerKey {self.public.fingerprint}>"
