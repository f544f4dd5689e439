"""A witness's keys (C2SP tlog-cosignature with Ed25519), and the folder with its key and state."""

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
from ugsd_privacy.files.key_files import create_private, from_text, read_key, to_text
from ugsd_privacy.tlog.witness_state import WitnessState

__all__ = ["WitnessKey", "WitnessPublicKey", "open_witness"]

_SECRET_PREFIX = "ugsd-wsk1:"  # noqa: S105  (a label)
_ALGORITHM = b"\x04"
_SEED_BYTES = 32


class WitnessPublicKey:
    """A witness's name and Ed25519 public key. The text form is a verifier key of type 0x04."""

    __slots__ = ("_key", "name", "raw")

    def __init__(self, name: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a malformed key or a name that is invalid in notes."""
        if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
            raise KeyFileError(
                "a witness's name must not have a plus sign, space or control character"
            )
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise KeyFileError("not an Ed25519 public key") from None
        self.name = name
        self.raw = bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse a verifier key of type 0x04. Raises :class:`KeyFileError`."""
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            blob = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise KeyFileError("not a witness's verifier key: expected name+id+base64") from None
        if blob[:1] != _ALGORITHM:
            raise KeyFileError("not an Ed25519 witness key, which has type 4")
        key = cls(name, blob[1:])
        if key.key_id.hex() != key_id:
            raise KeyFileError("the witness's key does not match its id; copy it again")
        return key

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Load from the text itself or from the path of a file. Raises :class:`KeyFileError`."""
        given = os.fspath(path_or_text)
        is_text = given.count("+") > 1  # name+id+base64
        if is_text:
            return cls.from_text(given)
        other_half = "the public key that the witness prints"
        return read_key(Path(given), cls.from_text, secret=False, other_half=other_half)

    @property
    def key_id(self) -> bytes:
        """4 bytes (tlog-cosignature, Format)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ALGORITHM + self.raw).digest()[:4]

    def to_text(self) -> str:
        """Return the verifier key, as devices and auditors store it."""
        blob = base64.b64encode(_ALGORITHM + self.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{blob}"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`LogTampered` unless ``signature`` is this key's over ``message``."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise LogTampered(f"a cosignature of {self.name} does not verify") from None

    def __repr__(self) -> str:
        return f"<WitnessPublicKey {self.to_text()}>"


class WitnessKey:
    """A witness's private key. The witness's name is derived from it."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes_raw()
        name = f"ugsd.witness/{hashlib.sha256(raw).hexdigest()[:16]}"
        self._public = WitnessPublicKey(name, raw)

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
            Path(path), cls._from_text, secret=True, other_half="the witness's private key"
        )

    @classmethod
    def _from_text(cls, text: str) -> Self:
        seed = from_text(text, _SECRET_PREFIX, "a witness's private key")
        if len(seed) != _SEED_BYTES:
            raise KeyFileError("the private key is incomplete")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        create_private(Path(path), to_text(self._key.private_bytes_raw(), _SECRET_PREFIX))

    @property
    def public(self) -> WitnessPublicKey:
        """The public key, which devices and auditors store."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032) of 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<WitnessKey {self.public.name}>"


def open_witness(folder: Path, key_file: Path | None = None) -> tuple[WitnessKey, WitnessState]:
    """Return the key and the state of the witness in ``folder``; create both if there is no key.

    Raises :class:`KeyFileError` or :class:`WitnessUnavailable`, also if the state is lost and the
    key is not, or if the key is missing and the state is not new.
    """
    if folder.exists() and not folder.is_dir():
        raise KeyFileError(f"{folder} is a file: give a folder for the witness's state")
    path = folder / "witness.key" if key_file is None else key_file
    create = not path.exists()
    # The state comes first: after a crash between the two, the folder is still usable.
    state = WitnessState(folder / "witness.sqlite3", create=create).open()
    if create:
        if not state.is_new() and not path.exists():
            raise KeyFileError(
                f"no key at {path}, but {folder} holds the state of a witness: give the path of "
                "its key, or a new folder for another witness"
            )
        try:
            WitnessKey.generate().save(path)
        except KeyFileError:
            if not path.exists():  # otherwise another process has just created it
                raise
    key = WitnessKey.load(path)
    state.bind(key.public.to_text())
    return key, state
