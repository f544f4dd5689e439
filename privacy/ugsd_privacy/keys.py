"""The verifier's identity, which devices pin, and the key that signs the device's log."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.key_files import create_private, from_text, read_text, to_text

__all__ = [
    "LogKey",
    "LogPublicKey",
    "NotePublicKey",
    "VerifierKey",
    "VerifierPublicKey",
    "fingerprint",
    "log_origin",
]

_VERIFIER_SECRET_PREFIX = "ugsd-vsk1:"  # noqa: S105  (a label)
_VERIFIER_PUBLIC_PREFIX = "ugsd-vk1:"
_LOG_SECRET_PREFIX = "ugsd-lsk1:"  # noqa: S105  (a label)
_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_X25519_BYTES = 32
_ED25519_BYTES = 32
_NOTE_ED25519 = b"\x01"
_ORIGIN_DIGITS = 16
_FINGERPRINT_CHARACTERS = 25
_FINGERPRINT_GROUP = 5


class VerifierPublicKey:
    """A verifier's X-Wing public key: ML-KEM-768 (1184 bytes) then X25519 (32 bytes).

    The order is that of draft-connolly-cfrg-xwing-kem §5.2. Equal keys compare equal.
    """

    __slots__ = ("_fingerprint", "_hpke", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Raises :class:`KeyFileError` unless ``raw`` is a valid public key of 1216 bytes."""
        if len(raw) != _MLKEM_PUBLIC_BYTES + _X25519_BYTES:
            raise KeyFileError(f"a verifier's public key has 1216 bytes, not {len(raw)}")
        try:
            self._hpke = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError:
            raise KeyFileError("not a verifier's public key; ask its operator again") from None
        self._raw = bytes(raw)
        self._fingerprint = fingerprint(self._raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse what :meth:`to_text` wrote. Raises :class:`KeyFileError`."""
        return cls(from_text(text, _VERIFIER_PUBLIC_PREFIX, "a verifier's public key"))

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Take the text itself, or the path of a file that holds it. Raises KeyFileError."""
        given = os.fspath(path_or_text)
        if given.strip().startswith(_VERIFIER_PUBLIC_PREFIX):
            return cls.from_text(given)
        return cls.from_text(read_text(Path(given), secret=False))

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
        """125 bits of SHA-256 in base32, five groups of five: for people and for the log."""
        return self._fingerprint

    def to_text(self) -> str:
        """``ugsd-vk1:`` and unpadded base64url; what devices pin."""
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
        """Make a fresh key from the operating system's randomness."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        text = read_text(Path(path), secret=True)
        seeds = from_text(text, _VERIFIER_SECRET_PREFIX, "a verifier's private key")
        if len(seeds) != _MLKEM_SEED_BYTES + _X25519_BYTES:
            raise KeyFileError(f"{path}: not a whole private key; restore it from your backup")
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
        """What devices pin."""
        mlkem = self._mlkem.public_key().public_bytes_raw()
        return VerifierPublicKey(mlkem + self._x25519.public_key().public_bytes_raw())

    @property
    def hpke(self) -> MLKEM768X25519PrivateKey:
        """The recipient key for HPKE with ``KEM.MLKEM768_X25519``."""
        return MLKEM768X25519PrivateKey(self._mlkem, self._x25519)

    def __repr__(self) -> str:
        return f"<VerifierKey {self.public.fingerprint}>"


class NotePublicKey:
    """Who signs a note: a name and an Ed25519 public key (C2SP signed-note).

    The name is whatever the signer chose, so it says nothing of whose log a note is of: logs are
    read by :class:`LogPublicKey`. Its text is a verifier key, ``name+key id+base64``.
    """

    __slots__ = ("_key", "origin", "raw")

    def __init__(self, origin: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a name that a note cannot hold or a malformed key."""
        if not origin or "+" in origin or any(c.isspace() or not c.isprintable() for c in origin):
            raise KeyFileError("a log's name has no plus sign, space or control character")
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
            raise KeyFileError("not a log's verifier key: name+id+base64 expected") from None
        if blob[:1] != _NOTE_ED25519:
            raise KeyFileError("not an Ed25519 log key")
        key = cls(origin, blob[1:])
        if key.key_id.hex() != key_id:
            raise KeyFileError("the log key's id does not match it; copy it again")
        return key

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Take the text itself, or the path of a file that holds it. Raises KeyFileError."""
        given = os.fspath(path_or_text)
        is_text = given.count("+") > 1  # name+id+base64
        return cls.from_text(given if is_text else read_text(Path(given), secret=False))

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256 of name, newline, algorithm and key (C2SP signed-note)."""
        return hashlib.sha256(self.origin.encode() + b"\n" + _NOTE_ED25519 + self.raw).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 in base32, five groups of five: for people to compare."""
        return fingerprint(self.raw)

    def to_text(self) -> str:
        """The signed note's verifier key, which auditors keep."""
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
    """Who signs a log: an Ed25519 public key and the log's origin, which the key makes.

    Nobody chooses an origin, so no key signs in the name of another key's log: it is
    ``ugsd.local/`` and the first 16 hexadecimal digits of the SHA-256 of the key.
    """

    __slots__ = ()

    def __init__(self, origin: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a malformed key, and for any other origin than the one
        that the key makes."""
        super().__init__(origin, raw)
        if origin != log_origin(raw):
            raise KeyFileError(
                f"{origin} is not the name that the log's key makes, which is {log_origin(raw)}: "
                "whoever wrote it uses another log's name; take the key from the device itself "
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
        """Make a fresh key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        seed = from_text(read_text(Path(path), secret=True), _LOG_SECRET_PREFIX, "a log key")
        if len(seed) != _ED25519_BYTES:
            raise KeyFileError(f"{path}: not a whole log key; restore it from your backup")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def open_or_create(cls, path: str | os.PathLike[str]) -> Self:
        """Load ``path``, or create it with a fresh key. Raises :class:`KeyFileError`.

        Where two processes create it at once, both end up with the same key.
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
        """What auditors keep. The log's name is derived from the key, so it says nothing else."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature (RFC 8032), 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<LogKey {self.public.origin}>"


def log_origin(raw: bytes) -> str:
    """The origin of the log whose Ed25519 public key is ``raw``, 32 bytes."""
    return f"ugsd.local/{hashlib.sha256(raw).hexdigest()[:_ORIGIN_DIGITS]}"


def fingerprint(raw: bytes) -> str:
    """125 bits of the SHA-256 of ``raw`` in base32, five groups of five: for people to compare."""
    text = base64.b32encode(hashlib.sha256(raw).digest()).decode().lower()
    starts = range(0, _FINGERPRINT_CHARACTERS, _FINGERPRINT_GROUP)
    return "-".join(text[start : start + _FINGERPRINT_GROUP] for start in starts)
