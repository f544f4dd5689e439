"""The key that signs a log's checkpoints, and its public key (C2SP signed-note with Ed25519)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.fingerprint import fingerprint
from ugsd_privacy.keys.note_keys import NamedPrivateKey, NamedPublicKey

__all__ = ["LogKey", "LogPublicKey", "NotePublicKey", "log_origin"]

_ORIGIN_DIGITS = 16


class NotePublicKey(NamedPublicKey):
    """The verifier of a note: a name and an Ed25519 public key (C2SP signed-note).

    The signer may choose any name, so it does not identify a log: use :class:`LogPublicKey` for
    logs. The text form is a verifier key, ``name+key id+base64``.
    """

    __slots__ = ()

    _algorithm = b"\x01"
    _signer, _signature = "log", "signature"
    _printed_by = "what `ugsd audit key` prints"

    @property
    def origin(self) -> str:
        """The name, as checkpoints call it."""
        return self.name

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 in base32, five groups of five, for people to compare."""
        return fingerprint(self.raw)


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


class LogKey(NamedPrivateKey):
    """The Ed25519 key that signs the log's checkpoints."""

    __slots__ = ("_public",)

    _prefix = "ugsd-lsk1:"
    _noun = "log key"
    _written_as = "the log.key of the home"

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key)
        raw = key.public_key().public_bytes_raw()
        self._public = LogPublicKey(log_origin(raw), raw)

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

    @property
    def public(self) -> LogPublicKey:
        """The public key, which auditors store. It reveals nothing else about the device."""
        return self._public

    def __repr__(self) -> str:
        return f"<LogKey {self.public.origin}>"


def log_origin(raw: bytes) -> str:
    """Return the origin of the log with the Ed25519 public key ``raw`` (32 bytes)."""
    return f"ugsd.local/{hashlib.sha256(raw).hexdigest()[:_ORIGIN_DIGITS]}"
