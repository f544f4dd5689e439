"""Roots: offline keys that sign manifests of verifiers' keys, and the pins that devices store.

A root is a pair of keys, Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204). It signs with both, and both
signatures must verify, so it is secure while either algorithm is.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from ugsd_privacy.errors import KeyFileError, ManifestRejected
from ugsd_privacy.files.key_files import create_private, from_text, read_key, to_text

__all__ = ["ROOT_PUBLIC_BYTES", "ROOT_SIGNATURE_BYTES", "RootKey", "RootPin", "RootPublicKey"]

_SECRET_PREFIX = "ugsd-rsk1:"  # noqa: S105  (a label)
_PIN_PREFIX = "ugsd-root1:"
_PIN_LABEL = b"ugsd root pin\x01"
_PIN_BYTES = 32
_SEED_BYTES = 32
_ED25519_PUBLIC_BYTES, _ED25519_SIGNATURE_BYTES = 32, 64
_MLDSA_PUBLIC_BYTES, _MLDSA_SIGNATURE_BYTES = 1952, 3309

ROOT_PUBLIC_BYTES = _ED25519_PUBLIC_BYTES + _MLDSA_PUBLIC_BYTES
"""Size of both public keys of a root, Ed25519 first."""
ROOT_SIGNATURE_BYTES = _ED25519_SIGNATURE_BYTES + _MLDSA_SIGNATURE_BYTES
"""Size of both signatures of a root, Ed25519 first."""


class RootPin:
    """Identifies a root, for devices and people. Equal pins compare equal."""

    __slots__ = ("digest",)

    def __init__(self, digest: bytes) -> None:
        """``digest`` is 32 bytes; see :attr:`RootPublicKey.pin`. Raises :class:`KeyFileError`."""
        if len(digest) != _PIN_BYTES:
            raise KeyFileError(f"a root's pin must have {_PIN_BYTES} bytes, not {len(digest)}")
        self.digest = bytes(digest)

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Load from the text itself or from the path of a file. Raises :class:`KeyFileError`."""
        given = os.fspath(path_or_text)
        if given.strip().startswith(_PIN_PREFIX):
            return cls._from_text(given)
        return read_key(
            Path(given),
            cls._from_text,
            secret=False,
            other_half=f"{given}.pin",
            what="root's pin",
        )

    @classmethod
    def _from_text(cls, text: str) -> Self:
        return cls(from_text(text, _PIN_PREFIX, "a root's pin"))

    def to_text(self) -> str:
        """Return ``ugsd-root1:`` and unpadded base64url, 54 characters in total."""
        return to_text(self.digest, _PIN_PREFIX)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RootPin) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<RootPin {self.to_text()}>"


class RootPublicKey:
    """A root's two public keys, which are included in everything that it signs."""

    __slots__ = ("_ed25519", "_mldsa", "raw")

    def __init__(self, raw: bytes) -> None:
        """Raises :class:`KeyFileError` unless ``raw`` is ``ROOT_PUBLIC_BYTES`` of both keys."""
        try:
            self._ed25519 = Ed25519PublicKey.from_public_bytes(raw[:_ED25519_PUBLIC_BYTES])
            self._mldsa = MLDSA65PublicKey.from_public_bytes(raw[_ED25519_PUBLIC_BYTES:])
        except ValueError:
            raise KeyFileError("not a root's public keys") from None
        self.raw = bytes(raw)

    @property
    def pin(self) -> RootPin:
        """SHA-256 over a label and both keys."""
        return RootPin(hashlib.sha256(_PIN_LABEL + self.raw).digest())

    def verify(self, signatures: bytes, message: bytes, *, label: bytes) -> None:
        """Raise :class:`ManifestRejected` unless both ``signatures`` over ``message`` and ``label``
        are by this root."""
        ed25519 = signatures[:_ED25519_SIGNATURE_BYTES]
        mldsa = signatures[_ED25519_SIGNATURE_BYTES:]
        signed = self._bound(message, label)
        try:
            self._ed25519.verify(ed25519, signed)
        except InvalidSignature:
            raise ManifestRejected(_unverified("Ed25519")) from None
        try:
            self._mldsa.verify(mldsa, signed, label)
        except InvalidSignature:
            raise ManifestRejected(_unverified("ML-DSA-65")) from None

    def _bound(self, message: bytes, label: bytes) -> bytes:
        """Return the signed bytes. They include the purpose and both keys, so that neither
        signature can be reused with another key or for another purpose."""
        return label + self.pin.digest + message


class RootKey:
    """A root's private keys. Only signing needs them: keep them off every network."""

    __slots__ = ("_ed25519", "_mldsa", "_public")

    def __init__(self, ed25519: Ed25519PrivateKey, mldsa: MLDSA65PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa = mldsa
        self._public = RootPublicKey(
            ed25519.public_key().public_bytes_raw() + mldsa.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        """Generate a root from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        other_half = os.fspath(path).removesuffix(".pin")
        if other_half == os.fspath(path):
            other_half = "the private keys that `ugsd-server root` wrote"
        return read_key(Path(path), cls._from_text, secret=True, other_half=other_half)

    @classmethod
    def _from_text(cls, text: str) -> Self:
        seeds = from_text(text, _SECRET_PREFIX, "a root key")
        if len(seeds) != 2 * _SEED_BYTES:
            raise KeyFileError("the root key is incomplete")
        return cls(
            Ed25519PrivateKey.from_private_bytes(seeds[:_SEED_BYTES]),
            MLDSA65PrivateKey.from_seed_bytes(seeds[_SEED_BYTES:]),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        seeds = self._ed25519.private_bytes_raw() + self._mldsa.private_bytes_raw()
        create_private(Path(path), to_text(seeds, _SECRET_PREFIX))

    @property
    def public(self) -> RootPublicKey:
        """The public keys, which verify the signatures."""
        return self._public

    def sign(self, message: bytes, *, label: bytes) -> bytes:
        """Return both signatures, ``ROOT_SIGNATURE_BYTES`` in total.

        Each is over the label, the pin's digest and ``message``. The label, of at most 255 bytes,
        is also ML-DSA's context (FIPS 204 §5.2).
        """
        signed = self._public._bound(message, label)
        return self._ed25519.sign(signed) + self._mldsa.sign(signed, label)

    def __repr__(self) -> str:
        return f"<RootKey {self.public.pin.to_text()}>"


def _unverified(algorithm: str) -> str:
    return f"the manifest's {algorithm} signature does not verify: fetch the manifest again"
