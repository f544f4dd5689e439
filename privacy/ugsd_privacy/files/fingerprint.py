"""Fingerprints of public keys, for people to compare."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["fingerprint"]

_FINGERPRINT_CHARACTERS = 25
_FINGERPRINT_GROUP = 5


def fingerprint(raw: bytes) -> str:
    """Return 125 bits of the SHA-256 of ``raw`` in base32, as five groups of five characters."""
    text = base64.b32encode(hashlib.sha256(raw).digest()).decode().lower()
    starts = range(0, _FINGERPRINT_CHARACTERS, _FINGERPRINT_GROUP)
    return "-".join(text[start : start + _FINGERPRINT_GROUP] for start in starts)
