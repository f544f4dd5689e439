"""A verifier's key pair, whose public half devices pin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.fingerprint import fingerprint
from ugsd_privacy.files.key_files import create_private, from_text, read_key, to_text

__all__ = ["VerifierKey", "VerifierPublicKey"]

_VERIFIER_SECRET_PREFIX = "ugsd-vsk1:"  # noqa: S105  (a label)
_VERIFIER_PUBLIC_PREFIX = "ugsd-vk1:"
_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_X25519_BYTES = 32


class VerifierPublicKey:
    """A verifier's X-Wing public key: ML-KEM-768 (1184 bytes) then X25519 (32 bytes).

    The order is that of draft-connolly-cfrg-xwing-kem §5.2. Equal keys compare equal.
    """

    __slots__ = ("_fingerprint", "_hpke", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Raises :class:`KeyFileError` unless ``raw`` is a valid public key of 1216 bytes."""
        if len(raw) != _MLKEM_PUBLIC_BYTES + _X25519_BYTES:
            raise KeyFileError(f"a verifier's public key must have 1216 bytes, not {len(raw)}")
        try:
            self._hpke = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError:
            raise KeyFileError(
                "not a verifier's public key; ask the operator for it again"
            ) from None
        self._raw = bytes(raw)
        self._fingerprint = fingerprint(self._raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the text form of :meth:`to_text`. Raises :class:`KeyFileError`."""
        return cls(from_text(text, _VERIFIER_PUBLIC_PREFIX, "a verifier's public key"))

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Load from the text itself or from the path of a file. Raises :class:`KeyFileError`."""
        given = os.fspath(path_or_text)
        if given.strip().startswith(_VERIFIER_PUBLIC_PREFIX):
            return cls.from_text(given)
        return read_key(Path(given), cls.from_text, secret=False, other_half=f"{given}.pub")

    @property
    def raw(self) -> bytes:
        """The 1216 bytes."""
        return self._raw

    @property
    def hpke(self) -> MLKEM768X25519PublicKey:
        """The recipient key for HPKE with ``KEM.MLKEM768_X25519``."""
        return self._hpke

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 in base32, five groups of five, for people and for the log."""
        return self._fingerprint

    def to_text(self) -> str:
        """Return ``ugsd-vk1:`` and unpadded base64url, which devices pin."""
        return to_text(self._raw, _VERIFIER_PUBLIC_PREFIX)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifierPublicKey) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"<VerifierPublicKey {self.fingerprint}>"


class VerifierKey:
    """A verifier's private X-Wing key."""

    __slots__ = ("_mlkem", "_x25519")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519

    @classmethod
    def generate(cls) -> Self:
        """Generate a key from the operating system's randomness."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        other_half = os.fspath(path).removesuffix(".pub")
        if other_half == os.fspath(path):
            other_half = "the private key that `ugsd-server keygen` wrote"
        return read_key(Path(path), cls._from_text, secret=True, other_half=other_half)

    @classmethod
    def _from_text(cls, text: str) -> Self:
        seeds = from_text(text, _VERIFIER_SECRET_PREFIX, "a verifier's private key")
        if len(seeds) != _MLKEM_SEED_BYTES + _X25519_BYTES:
            raise KeyFileError("the private key is incomplete")
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(seeds[:_MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(seeds[_MLKEM_SEED_BYTES:]),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        seeds = self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()
        create_private(Path(path), to_text(seeds, _VERIFIER_SECRET_PREFIX))

    @property
    def public(self) -> VerifierPublicKey:
        """The public key, which devices pin."""
        mlkem = self._mlkem.public_key().public_bytes_raw()
        return VerifierPublicKey(mlkem + self._x25519.public_key().public_bytes_raw())

    @property
    def hpke(self) -> MLKEM768X25519PrivateKey:
        """The recipient key for HPKE with ``KEM.MLKEM768_X25519``."""
        return MLKEM768X25519PrivateKey(self._mlkem, self._x25519)

    def __repr__(self) -> str:
        return f"<VerifierKey {self.public.fingerprint}>"
