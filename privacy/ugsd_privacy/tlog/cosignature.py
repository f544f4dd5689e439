"""A witness's word on a checkpoint: C2SP tlog-cosignature, of Ed25519 (``cosignature/v1``).

It says that, at its time, the checkpoint was of the largest consistent tree of its log that the
witness had seen.
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
"""The year 10,000, which no calendar here has."""


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
    """The signature line over a checkpoint's text; ``time_s`` is Unix time, from 1 to before
    ``END_OF_TIME_S``."""
    public = key.public
    signed = key.sign(_message(text, time_s))
    blob = public.key_id + time_s.to_bytes(_TIME_BYTES, "big") + signed
    return f"— {public.name} {base64.b64encode(blob).decode()}\n"


def verify_cosigned(
    notes: Sequence[str],
    witnesses: Iterable[CosignatureVerifier],
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


def verify_cosignature(note: str, witness: CosignatureVerifier) -> int:
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


def with_cosignatures(note: str, lines: str, witness: CosignatureVerifier) -> str:
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


def _is_by(name: str, blob: bytes, witness: CosignatureVerifier) -> bool:
    return name == witness.name and blob[:_KEY_ID_BYTES] == witness.key_id


def _line(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def _message(text: str, time_s: int) -> bytes:
    """What is signed (tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
