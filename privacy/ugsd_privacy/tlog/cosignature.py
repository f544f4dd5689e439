"""Cosignatures of checkpoints by witnesses: C2SP tlog-cosignature, Ed25519 (``cosignature/v1``).

A cosignature states that at its time, the checkpoint had the largest consistent tree of its log
that the witness had seen.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ugsd_privacy.errors import LogTampered
from ugsd_privacy.tlog.checkpoint import Checkpoint, note_signatures

__all__ = [
    "END_OF_TIME_S",
    "CosignatureVerifier",
    "Cosigner",
    "cosign",
    "verify_cosignature",
    "verify_cosigned",
    "with_cosignatures",
]

_KEY_ID_BYTES, _TIME_BYTES = 4, 8
END_OF_TIME_S = 253_402_300_800
"""The start of the year 10,000, as Unix time; calendars end before it."""


class CosignatureVerifier(Protocol):
    """A witness's public key: verifies its cosignatures."""

    @property
    def name(self) -> str:
        """The witness's name, as in its signature lines."""
        ...

    @property
    def key_id(self) -> bytes:
        """4 bytes (tlog-cosignature, Format)."""
        ...

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`LogTampered` unless ``signature`` over ``message`` is by this key."""
        ...


class Cosigner(Protocol):
    """A witness's private key."""

    @property
    def public(self) -> CosignatureVerifier:
        """The key that verifies its cosignatures."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032) of 64 bytes."""
        ...


def cosign(text: str, key: Cosigner, time_s: int) -> str:
    """Return the signature line over a checkpoint's text.

    ``time_s`` is Unix time, at least 1 and before ``END_OF_TIME_S``.
    """
    public = key.public
    signature = key.sign(_message(text, time_s))
    blob = public.key_id + time_s.to_bytes(_TIME_BYTES, "big") + signature
    return f"— {public.name} {base64.b64encode(blob).decode()}\n"


def verify_cosigned(
    notes: Sequence[str],
    witnesses: Iterable[CosignatureVerifier],
    opened: Callable[[str], Checkpoint],
) -> dict[str, tuple[int, int]]:
    """Return, by each witness's name, the largest size that it cosigned in ``notes``, and when.

    ``opened`` verifies and parses a note. Raises :class:`LogTampered` if a witness cosigned none of
    the notes, or if one of its cosignatures does not verify.
    """
    found = {}
    for witness in witnesses:
        cosigned = [
            note
            for note in notes
            if any(_is_by(name, blob, witness) for name, blob in note_signatures(note)[1])
        ]
        if not cosigned:
            raise LogTampered(f"{witness.name} cosigned none of these checkpoints")
        found[witness.name] = max(
            (opened(note).size, verify_cosignature(note, witness)) for note in cosigned
        )
    return found


def verify_cosignature(note: str, witness: CosignatureVerifier) -> int:
    """Return when ``witness`` cosigned the note's checkpoint, as Unix time by the witness's clock.

    The log's own signature is not verified. Raises :class:`LogTampered` if the witness did not
    cosign, or if a cosignature with its name and key id does not verify.
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


def with_cosignatures(note: str, lines: str, witness: CosignatureVerifier) -> str:
    """Add the cosignatures of ``witness`` in ``lines`` to ``note``, and ignore those of others.

    Raises :class:`LogTampered` if none of them verifies.
    """
    text, signatures = note_signatures(note)
    _, offered = note_signatures(f"{text}\n{lines}")
    added = {(name, blob) for name, blob in offered if _is_by(name, blob, witness)}
    others = [(name, blob) for name, blob in signatures if not _is_by(name, blob, witness)]
    merged = f"{text}\n" + "".join(_line(*signature) for signature in [*others, *sorted(added)])
    verify_cosignature(merged, witness)
    return merged


def _is_by(name: str, blob: bytes, witness: CosignatureVerifier) -> bool:
    return name == witness.name and blob[:_KEY_ID_BYTES] == witness.key_id


def _line(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def _message(text: str, time_s: int) -> bytes:
    """Return the signed message (tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
