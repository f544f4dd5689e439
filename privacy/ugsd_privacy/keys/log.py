"""The key that signs a log's checkpoints, and its public key (C2SP signed-note with Ed25519)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.files.fingerprint import fingerprint
from ugsd_privacy.files.key_files import create_private, from_text, read_key, to_text

__all__ = ["LogKey", "LogPublicKey", "NotePublicKey", "log_origin"]

_LOG_SECRET_PREFIX = "ugsd-lsk1:"  # noqa: S105  (a label)
_ED25519_BYTES = 32
_NOTE_ED25519 = b"\x01"
_ORIGIN_DIGITS = 16


class NotePublicKey:
    """The verifier of a note: a name and an Ed25519 public key (C2SP signed-note).

    The signer may choose any name, so it does not identify a log: use :class:`LogPublicKey` for
    logs. The text form is a verifier key, ``name+key id+base64``.
    """

    __slots__ = ("_key", "origin", "raw")

    def __init__(self, origin: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a malformed key or a name that is invalid in notes."""
        if not origin or "+" in origin or any(c.isspace() or not c.isprintable() for c in origin):
            raise KeyFileError("a log's name must not have a plus sign, space or control character")
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise KeyFileError("not an Ed25519 public key") from None
        self.origin = origin
        self.raw = bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse a note's verifier key. Raises :class:`KeyFileError`."""
        parts = text.strip().split("+", 2)
        try:
            origin, key_id, encoded = parts
            blob = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise KeyFileError("not a log's verifier key: expected name+id+base64") from None
        if blob[:1] != _NOTE_ED25519:
            raise KeyFileError("not an Ed25519 log key")
        key = cls(origin, blob[1:])
        if key.key_id.hex() != key_id:
            raise KeyFileError("the log key does not match its id; copy it again")
        return key

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Load from the text itself or from the path of a file. Raises :class:`KeyFileError`."""
        given = os.fspath(path_or_text)
        is_text = given.count("+") > 1  # name+id+base64
        if is_text:
            return cls.from_text(given)
        other_half = "what `ugsd audit key` prints"
        return read_key(Path(given), cls.from_text, secret=False, other_half=other_half)

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256 of name, newline, algorithm and key (C2SP signed-note)."""
        return hashlib.sha256(self.origin.encode() + b"\n" + _NOTE_ED25519 + self.raw).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 in base32, five groups of five, for people to compare."""
        return fingerprint(self.raw)

    def to_text(self) -> str:
        """Return the verifier key, as auditors store it."""
        blob = base64.b64encode(_NOTE_ED25519 + self.raw).decode()
        return f"{self.origin}+{self.key_id.hex()}+{blob}"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`LogTampered` unless ``signature`` is this key's over ``message``."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise LogTampered(f"a signature of {self.origin} does not verify") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.to_text()}>"


class LogPublicKey(NotePublicKey):
    """A log's Ed25519 public key and its origin, which is derived from the key.

    The origin is ``ugsd.local/`` and the first 16 hexadecimal digits of the SHA-256 of the key.
    Nobody can choose it, so no key can sign in the name of another key's log.
    """

    __slots__ = ()

    def __init__(self, origin: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a malformed key, and for any origin but the key's."""
        super().__init__(origin, raw)
        if origin != log_origin(raw):
            raise KeyFileError(
                f"{origin} is not the name of this log key, which is {log_origin(raw)}: "
                "somebody uses another log's name; get the key from the device itself "
                "(`ugsd audit key`)"
            )


class LogKey:
    """The Ed25519 key that signs the log's checkpoints."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes_raw()
        self._public = LogPublicKey(log_origin(raw), raw)

    @classmethod
    def generate(cls) -> Self:
        """Generate a key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a file written by :meth:`save`.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        return read_key(
            Path(path), cls._from_text, secret=True, other_half="the log.key of the home"
        )

    @classmethod
    def _from_text(cls, text: str) -> Self:
        seed = from_text(text, _LOG_SECRET_PREFIX, "a log key")
        if len(seed) != _ED25519_BYTES:
            raise KeyFileError("the log key is incomplete")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def open_or_create(cls, path: str | os.PathLike[str]) -> Self:
        """Load ``path``, or create it with a new key. Raises :class:`KeyFileError`.

        If two processes create it at the same time, both get the same key.
        """
        if not Path(path).exists():
            try:
                cls.generate().save(path)
            except KeyFileError:
                if not Path(path).exists():
                    raise
        return cls.load(path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        create_private(Path(path), to_text(self._key.private_bytes_raw(), _LOG_SECRET_PREFIX))

    @property
    def public(self) -> LogPublicKey:
        """The public key, which auditors store. It reveals nothing else about the device."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032) of 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<LogKey {self.public.origin}>"


def log_origin(raw: bytes) -> str:
    """Return the origin of the log with the Ed25519 public key ``raw`` (32 bytes)."""
    return f"ugsd.local/{hashlib.sha256(raw).hexdigest()[:_ORIGIN_DIGITS]}"
