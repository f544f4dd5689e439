"""Which keys a verifier has, and when: signed offline by a root that devices pin.

A device that pins a verifier's key itself cannot be told of the next one. So it pins a root
(:mod:`ugsd_privacy.keys.root`), which signs a manifest of keys, anew whenever they change and
before the
last one expires. A manifest is public; it may reach devices by any way at all, file or download.

A signed manifest is one line, ``ugsd-manifest1:`` and base64url of fixed fields, so that nothing is
decoded before both signatures verify::

    root's public keys   32 Ed25519, 1952 ML-DSA-65; the pin is their hash
    signatures           64 Ed25519, 3309 ML-DSA-65
    manifest             deterministic CBOR (RFC 8949 §4.2.1), at most MAX_MANIFEST_BYTES

Whoever can withhold manifests can keep a device on its last one until that expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from ugsd_privacy.cbor import decode_item, encode_item
from ugsd_privacy.errors import KeyFileError, ManifestRejected, WireError
from ugsd_privacy.files.fingerprint import fingerprint
from ugsd_privacy.files.key_files import from_text, read_text, to_text
from ugsd_privacy.keys.root import (
    ROOT_PUBLIC_BYTES,
    ROOT_SIGNATURE_BYTES,
    RootKey,
    RootPin,
    RootPublicKey,
)
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.strict_models import StrictModel

__all__ = [
    "MAX_KEYS",
    "MAX_MANIFEST_BYTES",
    "KeyManifest",
    "ManifestKey",
    "open_manifest",
    "read_manifest_file",
    "sign",
    "verify_manifest",
]

MAX_KEYS = 8
"""Most keys of a manifest."""
MAX_MANIFEST_BYTES = 10_240
"""Longest manifest, without its signatures; ``MAX_KEYS`` take less."""

_PREFIX = "ugsd-manifest1:"
_LABEL = b"ugsd key manifest\x01"
_HEAD_BYTES = ROOT_PUBLIC_BYTES + ROOT_SIGNATURE_BYTES
_MAX_TEXT_BYTES = len(_PREFIX) + 4 * -(-(_HEAD_BYTES + MAX_MANIFEST_BYTES) // 3) + 1
_MAX_DEPTH = 3
"""A manifest is a map that holds an array of maps."""
_LAST_SECOND = 253_402_300_799  # of the year 9999

Seconds = Annotated[int, Field(strict=True, ge=0, le=_LAST_SECOND)]


class ManifestKey(StrictModel):
    """A verifier's key, and when devices may seal to it. Times are seconds since 1970, UTC."""

    public: bytes
    """:attr:`VerifierPublicKey.raw`."""
    not_before_s: Seconds
    not_after_s: Seconds
    """From this second on it is not used."""

    @model_validator(mode="before")
    @classmethod
    def _as_dict(cls, fields: object) -> object:
        return dict(fields) if isinstance(fields, Mapping) else fields

    @property
    def key(self) -> VerifierPublicKey:
        """The key itself."""
        return VerifierPublicKey(self.public)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.not_before_s >= self.not_after_s:
            raise ValueError("a key ends before it begins")
        try:
            _ = self.key
        except KeyFileError as error:
            raise ValueError(str(error)) from None
        return self


class KeyManifest(StrictModel):
    """A verifier's keys, as a root states them. Times are seconds since 1970, UTC."""

    serial: Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
    """Grows with each manifest of a root."""
    issued_s: Seconds
    expires_s: Seconds
    """From this second on the manifest is not used."""
    keys: Annotated[tuple[ManifestKey, ...], Field(min_length=1, max_length=MAX_KEYS)]
    """In the order in which they begin, each once."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.issued_s >= self.expires_s:
            raise ValueError("it expires before it is issued")
        if len({key.public for key in self.keys}) < len(self.keys):
            raise ValueError("a key is listed twice")
        begins = [key.not_before_s for key in self.keys]
        if begins != sorted(begins):
            raise ValueError("keys are listed in the order in which they begin")
        return self

    def to_bytes(self) -> bytes:
        """The canonical bytes, which are signed."""
        return encode_item(self.model_dump(mode="python"))

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 of the canonical bytes in base32, five groups of five: the same on
        every device that was given the same manifest, for people to compare."""
        return fingerprint(self.to_bytes())

    def key_at(self, now_s: float) -> VerifierPublicKey:
        """The newest key whose time holds ``now_s``: the last one listed.

        Raises :class:`ManifestRejected` where there is none.
        """
        for key in reversed(self.keys):
            if key.not_before_s <= now_s < key.not_after_s:
                return key.key
        raise ManifestRejected(
            f"none of the manifest's keys is to be used at {_words(now_s)}: check this clock, "
            "or ask the operator for a new manifest"
        )

    def check(self, *, now_s: float, least_serial: int) -> None:
        """Raise :class:`ManifestRejected` unless it is to be used at ``now_s`` by a device that has
        seen ``least_serial``."""
        if self.serial < least_serial:
            raise ManifestRejected(
                f"the manifest has serial {self.serial}, and {least_serial} was seen already: "
                "ask the operator for the newest one"
            )
        if now_s < self.issued_s:
            raise ManifestRejected(
                f"the manifest is of {_words(self.issued_s)}, and here it is {_words(now_s)}: "
                "check this clock"
            )
        if now_s >= self.expires_s:
            raise ManifestRejected(
                f"the manifest expired at {_words(self.expires_s)}: ask the operator for a new one"
            )


def sign(manifest: KeyManifest, root: RootKey) -> str:
    """The signed manifest's line, without a newline."""
    data = manifest.to_bytes()
    return to_text(root.public.raw + root.sign(data, label=_LABEL) + data, _PREFIX)


def verify_manifest(text: str, *, pin: RootPin) -> KeyManifest:
    """What the root of ``pin`` signed, however old.

    Raises :class:`ManifestRejected` for any other text: both signatures must verify, and the bytes
    be canonical. Whether it is to be used now, :meth:`KeyManifest.check` tells.
    """
    signed = _envelope(text)
    try:
        root = RootPublicKey(signed[:ROOT_PUBLIC_BYTES])
    except KeyFileError:
        raise ManifestRejected("the manifest names no root: fetch it again") from None
    if root.pin != pin:
        raise ManifestRejected(
            f"the root that signed the manifest is {root.pin.to_text()}, not {pin.to_text()}: "
            "check which root the operator has"
        )
    data = signed[_HEAD_BYTES:]
    root.verify(signed[ROOT_PUBLIC_BYTES:_HEAD_BYTES], data, label=_LABEL)
    return _decoded(data)


def open_manifest(text: str, *, pin: RootPin, now_s: float, least_serial: int) -> KeyManifest:
    """What the root of ``pin`` signed, to be used at ``now_s`` after ``least_serial`` was seen.

    Raises :class:`ManifestRejected` as :func:`verify_manifest` and :meth:`KeyManifest.check` do.
    """
    manifest = verify_manifest(text, pin=pin)
    manifest.check(now_s=now_s, least_serial=least_serial)
    return manifest


def read_manifest_file(path: Path) -> str:
    """The text of a file that should hold a signed manifest. Raises :class:`ManifestRejected`."""
    try:
        return read_text(path, secret=False, what="manifest", max_bytes=_MAX_TEXT_BYTES)
    except KeyFileError as error:
        raise ManifestRejected(str(error)) from error


def _envelope(text: str) -> bytes:
    if len(text) > _MAX_TEXT_BYTES:
        raise ManifestRejected("too long for a key manifest: fetch it again")
    try:
        signed = from_text(text, _PREFIX, "a signed key manifest")
    except KeyFileError as error:
        raise ManifestRejected(f"{error}; fetch it again") from None
    if len(signed) <= _HEAD_BYTES:
        raise ManifestRejected("the manifest lacks a signature, or is cut: fetch it again")
    return signed


def _decoded(data: bytes) -> KeyManifest:
    """Read bytes that the root signed: malformed ones are a fault of whoever signed."""
    try:
        manifest = KeyManifest.model_validate(decode_item(data, max_depth=_MAX_DEPTH))
    except WireError as error:
        raise ManifestRejected(f"what was signed is no manifest: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"]
        raise ManifestRejected(f"what was signed is no manifest: {fault}") from None
    if manifest.to_bytes() != data:
        raise ManifestRejected("what was signed is no manifest: not canonical CBOR")
    return manifest


def _words(seconds: float) -> str:
    moment = datetime.fromtimestamp(min(max(seconds, 0), _LAST_SECOND), UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
