"""A witness's word on a checkpoint: C2SP tlog-cosignature, of Ed25519 (``cosignature/v1``).

It says that, at its time, the checkpoint was of the largest consistent tree of its log that the
witness had seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.files.key_files import create_private, from_text, read_text, to_text
from ugsd_privacy.tlog.checkpoint import Checkpoint, note_signatures

__all__ = [
    "END_OF_TIME_S",
    "WitnessKey",
    "WitnessPublicKey",
    "cosign",
    "verify_cosignature",
    "verify_cosigned",
    "with_cosignatures",
]

_SECRET_PREFIX = "ugsd-wsk1:"  # noqa: S105  (a label)
_ALGORITHM = b"\x04"
_SEED_BYTES = 32
_KEY_ID_BYTES, _TIME_BYTES = 4, 8
END_OF_TIME_S = 253_402_300_800
"""The year 10,000, which no calendar here has."""


class WitnessPublicKey:
    """A witness: its name and its Ed25519 public key; its text is a verifier key of type 0x04."""

    __slots__ = ("_key", "name", "raw")

    def __init__(self, name: str, raw: bytes) -> None:
        """Raises :class:`KeyFileError` for a name that a note cannot hold or a malformed key."""
        if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
            raise KeyFileError("a witness's name has no plus sign, space or control character")
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
            raise KeyFileError("not a witness's verifier key: name+id+base64 expected") from None
        if blob[:1] != _ALGORITHM:
            raise KeyFileError("not an Ed25519 witness's key, which is of type 4")
        key = cls(name, blob[1:])
        if key.key_id.hex() != key_id:
            raise KeyFileError("the witness's key id does not match it; copy it again")
        return key

    @classmethod
    def load(cls, path_or_text: str | os.PathLike[str]) -> Self:
        """Take the text itself, or the path of a file that holds it. Raises KeyFileError."""
        given = os.fspath(path_or_text)
        is_text = given.count("+") > 1  # name+id+base64
        return cls.from_text(given if is_text else read_text(Path(given), secret=False))

    @property
    def key_id(self) -> bytes:
        """4 bytes (tlog-cosignature, Format)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ALGORITHM + self.raw).digest()[:4]

    def to_text(self) -> str:
        """The verifier key, which devices and auditors keep."""
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
    """A witness's private key. Its name is derived from it, so it says nothing else."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes_raw()
        name = f"ugsd.witness/{hashlib.sha256(raw).hexdigest()[:16]}"
        self._public = WitnessPublicKey(name, raw)

    @classmethod
    def generate(cls) -> Self:
        """Make a fresh key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises :class:`KeyFileError` if it is missing, malformed, or readable by others.
        """
        text = read_text(Path(path), secret=True)
        seed = from_text(text, _SECRET_PREFIX, "a witness's private key")
        if len(seed) != _SEED_BYTES:
            raise KeyFileError(f"{path}: not a whole private key; restore it from your backup")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Create ``path`` with mode 0600. Raises :class:`KeyFileError` if it exists."""
        create_private(Path(path), to_text(self._key.private_bytes_raw(), _SECRET_PREFIX))

    @property
    def public(self) -> WitnessPublicKey:
        """What devices and auditors keep."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature (RFC 8032), 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<WitnessKey {self.public.name}>"


def cosign(text: str, key: WitnessKey, time_s: int) -> str:
    """The signature line over a checkpoint's text; ``time_s`` is Unix time, from 1 to before
    ``END_OF_TIME_S``."""
    public = key.public
    signed = key.sign(_message(text, time_s))
    blob = public.key_id + time_s.to_bytes(_TIME_BYTES, "big") + signed
    return f"— {public.name} {base64.b64encode(blob).decode()}\n"


def verify_cosigned(
    notes: Sequence[str],
    witnesses: Iterable[WitnessPublicKey],
    opened: Callable[[str], Checkpoint],
) -> dict[str, tuple[int, int]]:
    """By each witness's name, the size that it cosigned last among ``notes``, and when; ``opened``
    reads a note. Raises :class:`LogTampered` where one of them cosigned none, by its key, or a
    cosignature of theirs does not verify."""
    found = {}
    for witness in witnesses:
        by = [
            note
            for note in notes
            if any(_is_by(name, blob, witness) for name, blob in note_signatures(note)[1])
        ]
        if not by:
            raise LogTampered(f"{witness.name} cosigned no checkpoint that is here")
        found[witness.name] = max((opened(n).size, verify_cosignature(n, witness)) for n in by)
    return found


def verify_cosignature(note: str, witness: WitnessPublicKey) -> int:
    """When ``witness`` cosigned the note's checkpoint, in Unix time by its clock.

    Says nothing of the log's own signature. Raises :class:`LogTampered` where the witness did not
    cosign, or a cosignature by its name and key id does not verify.
    """
    text, signatures = note_signatures(note)
    times = []
    for name, blob in signatures:
        if name == witness.name and blob[:_KEY_ID_BYTES] == witness.key_id:
            time_s = int.from_bytes(blob[_KEY_ID_BYTES : _KEY_ID_BYTES + _TIME_BYTES], "big")
            if not 0 < time_s < END_OF_TIME_S:
                raise LogTampered(f"a cosignature of {witness.name} has an invalid time")
            witness.verify(blob[_KEY_ID_BYTES + _TIME_BYTES :], _message(text, time_s))
            times.append(time_s)
    if not times:
        raise LogTampered(f"{witness.name} did not cosign this checkpoint")
    return max(times)


def with_cosignatures(note: str, lines: str, witness: WitnessPublicKey) -> str:
    """``note`` with the cosignature of ``witness`` among ``lines``, those of others left out.

    Raises :class:`LogTampered` where there is none that verifies.
    """
    text, signatures = note_signatures(note)
    _, offered = note_signatures(f"{text}\n{lines}")
    due = {(name, blob) for name, blob in offered if _is_by(name, blob, witness)}
    kept = [(name, blob) for name, blob in signatures if not _is_by(name, blob, witness)]
    merged = f"{text}\n" + "".join(_line(*signature) for signature in [*kept, *sorted(due)])
    verify_cosignature(merged, witness)
    return merged


def _is_by(name: str, blob: bytes, witness: WitnessPublicKey) -> bool:
    return name == witness.name and blob[:_KEY_ID_BYTES] == witness.key_id


def _line(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def _message(text: str, time_s: int) -> bytes:
    """What is signed (tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
