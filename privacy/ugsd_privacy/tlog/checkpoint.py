"""Checkpoints: signed statements of a log's size and root.

The body has the three lines of C2SP tlog-checkpoint: origin, size and base64 root. The envelope is
a C2SP signed-note with Ed25519. Extension lines are refused, because our logs write none.
Signatures under other names (witnesses) are ignored.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Protocol

from ugsd_privacy.errors import LogTampered

__all__ = [
    "Checkpoint",
    "NoteSigner",
    "NoteVerifier",
    "note_origin",
    "note_signatures",
    "open_checkpoint",
    "open_note",
    "parse_checkpoint",
    "sign_checkpoint",
    "sign_note",
]

_MAX_NOTE_CHARACTERS = 65_536
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<blob>[A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY_ID_BYTES = 4
_ROOT_BYTES = 32
_MAX_SIZE = 2**63


class NoteVerifier(Protocol):
    """A public key that verifies notes of ``origin`` (C2SP signed-note, verifier key)."""

    @property
    def origin(self) -> str:
        """The name in the signature line; for a log, its origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256 of name, newline, algorithm and key (C2SP signed-note)."""
        ...

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`LogTampered` unless ``signature`` over ``message`` is by this key."""
        ...


class NoteSigner(Protocol):
    """A private key that signs notes."""

    @property
    def public(self) -> NoteVerifier:
        """The key that verifies its signatures."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032) of 64 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log ``origin`` holds ``size`` leaves under ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes


def sign_checkpoint(size: int, root: bytes, key: NoteSigner) -> str:
    """Return a signed checkpoint of ``key``'s log."""
    root_line = base64.b64encode(root).decode()
    return sign_note(f"{key.public.origin}\n{size}\n{root_line}\n", key)


def open_checkpoint(note: str, public: NoteVerifier) -> Checkpoint:
    """Verify and parse a checkpoint. Raises :class:`LogTampered`."""
    return parse_checkpoint(open_note(note, public), public.origin)


def parse_checkpoint(text: str, origin: str) -> Checkpoint:
    """Parse the text of a note whose signature was verified. Raises :class:`LogTampered`."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[0] != origin or not _SIZE.fullmatch(lines[1]):
        raise LogTampered(f"not a checkpoint of {origin}")
    root = _decode(lines[2])
    if len(root) != _ROOT_BYTES:
        raise LogTampered("the checkpoint's root is not a SHA-256 hash")
    size = int(lines[1])
    if size >= _MAX_SIZE:
        raise LogTampered("the checkpoint's size is 2**63 or more")
    return Checkpoint(lines[0], size, root)


def note_origin(note: str) -> str:
    """Return the origin of a checkpoint, without verifying its signature."""
    return note.split("\n", 1)[0]


def sign_note(text: str, key: NoteSigner) -> str:
    """Return ``text`` with a signature (C2SP signed-note); it must end in a newline."""
    public = key.public
    blob = base64.b64encode(public.key_id + key.sign(text.encode())).decode()
    return f"{text}\n— {public.origin} {blob}\n"


def open_note(note: str, public: NoteVerifier) -> str:
    """Return the text that ``public`` signed. Raises :class:`LogTampered`."""
    text, signatures = note_signatures(note)
    verified = False
    for name, blob in signatures:
        if name == public.origin and blob[:_KEY_ID_BYTES] == public.key_id:
            public.verify(blob[_KEY_ID_BYTES:], text.encode())
            verified = True
    if not verified:
        raise LogTampered(f"{public.origin} did not sign this note")
    return text


def note_signatures(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the text of a note, and the name and blob (key id and signature) of each signature.

    No signature is verified. Raises :class:`LogTampered` if it is not a note.
    """
    if len(note) > _MAX_NOTE_CHARACTERS:
        raise LogTampered("the note is too long")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise LogTampered("not a signed note")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise LogTampered("the note is not UTF-8: it has half of a surrogate pair")
    found = []
    for line in signatures[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise LogTampered("the note has a malformed signature line")
        found.append((match["name"], _decode(match["blob"])))
    return text + "\n", found


def _decode(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise LogTampered("the note has damaged base64") from None
    if base64.b64encode(raw).decode() != text:  # stray bits in the last character
        raise LogTampered("the note has damaged base64")
    return raw
