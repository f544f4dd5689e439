"""Ed25519 keys of those who sign notes (C2SP signed-note): a name and a key, public and private."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.files.key_files import create_private, from_text, read_key, to_text

__all__ = ["NamedPrivateKey", "NamedPublicKey"]

_SEED_BYTES = 32


class NamedPublicKey:
    """A signer's name and Ed25519 public key. The text form is a verifier key, ``name+key
    id+base64``. Subclasses say whose key it is."""

    __slots__ = ("_key", "name", "raw")

    _algorithm: ClassVar[bytes]
    """The byte of the algorithm: 0x01 for notes, 0x04 for cosignatures."""
    _signer: ClassVar[str]
    _signature: ClassVar[str]
    _printed_by: ClassVar[str]
    """Where a user gets the public key."""

    def __init__(self, name: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a malformed key or a name that is invalid in notes."""
        if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
            raise KeyFileError(
                f"a {self._signer}'s name must not have a plus sign, space or control character"
            )
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise KeyFileError("not an Ed25519 public key") from None
        self.name = name
        self.raw = bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse a verifier key. Raises :class:`KeyFileError`."""
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            blob = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise KeyFileError(
                f"not a {cls._signer}'s verifier key: expected name+id+base64"
            ) from None
        if blob[:1] != cls._algorithm:
            raise KeyFileError(
                f"not an Ed25519 {cls._signer} key, which has type {cls._algorithm[0]}"
            )
        key = cls(name, blob[1:])
        if key.key_id.hex() != key_id:
            raise KeyFileError(f"the {cls._signer}'s key does not match its id; copy it again")
        return key

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Load from the text itself or from the path of a file. Raises :class:`KeyFileError`."""
        given = os.fspath(path_or_text)
        is_text = given.count("+") > 1  # name+id+base64
        if is_text:
            return cls.from_text(given)
        return read_key(Path(given), cls.from_text, secret=False, other_half=cls._printed_by)

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256 of name, newline, algorithm and key (C2SP signed-note)."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._algorithm + self.raw).digest()[:4]

    def to_text(self) -> str:
        """Return the verifier key, as devices and auditors store it."""
        blob = base64.b64encode(self._algorithm + self.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{blob}"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`LogTampered` unless ``signature`` is this key's over ``message``."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise LogTampered(f"a {self._signature} of {self.name} does not verify") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.to_text()}>"


class NamedPrivateKey:
    """The Ed25519 key of a signer whose name is derived from it. Subclasses say whose key it is."""

    __slots__ = ("_key",)

    _prefix: ClassVar[str]
    """What the text of the file begins with."""
    _noun: ClassVar[str]
    _written_as: ClassVar[str]
    """Where a user finds the private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Generate a key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        return read_key(Path(path), cls._from_text, secret=True, other_half=cls._written_as)

    @classmethod
    def _from_text(cls, text: str) -> Self:
        seed = from_text(text, cls._prefix, f"a {cls._noun}")
        if len(seed) != _SEED_BYTES:
            raise KeyFileError(f"the {cls._noun} is incomplete")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        create_private(Path(path), to_text(self._key.private_bytes_raw(), self._prefix))

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032) of 64 bytes."""
        return self._key.sign(message)
