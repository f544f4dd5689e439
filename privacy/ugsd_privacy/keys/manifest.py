"""Manifests: a verifier's keys and their validity, signed offline by a root that devices pin.

A device that pins a verifier's key itself cannot learn about the next key. So it pins a root
(:mod:`ugsd_privacy.keys.root`), which signs a new manifest whenever the keys change and before the
last manifest expires. A manifest is public and may reach devices in any way, by file or download.

A signed manifest is one line: ``ugsd-manifest1:`` and base64url of fixed fields, so that nothing is
decoded before both signatures verify::

    root's public keys   32 Ed25519, 1952 ML-DSA-65; the pin is their hash
    signatures           64 Ed25519, 3309 ML-DSA-65
    manifest             deterministic CBOR (RFC 8949 §4.2.1), at most MAX_MANIFEST_BYTES

An attacker who can withhold manifests can make a device use its last one until that expires.
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
"""Longest manifest, without its signatures; ``MAX_KEYS`` keys need less."""

_PREFIX = "ugsd-manifest1:"
_LABEL = b"ugsd key manifest\x01"
_HEAD_BYTES = ROOT_PUBLIC_BYTES + ROOT_SIGNATURE_BYTES
_MAX_TEXT_BYTES = len(_PREFIX) + 4 * -(-(_HEAD_BYTES + MAX_MANIFEST_BYTES) // 3) + 1
_MAX_DEPTH = 3
"""A manifest is a map that holds an array of maps."""
_LAST_SECOND = 253_402_300_799  # of the year 9999

Seconds = Annotated[int, Field(strict=True, ge=0, le=_LAST_SECOND)]


class ManifestKey(StrictModel):
    """A verifier's key and its validity. Times are seconds since 1970, UTC."""

    public: bytes
    """:attr:`VerifierPublicKey.raw`."""
    not_before_s: Seconds
    not_after_s: Seconds
    """The key is not used from this second on."""

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
            raise ValueError("a key's validity ends before it begins")
        try:
            _ = self.key
        except KeyFileError as error:
            raise ValueError(str(error)) from None
        return self


class KeyManifest(StrictModel):
    """A verifier's keys, as stated by a root. Times are seconds since 1970, UTC."""

    serial: Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
    """Increases with each manifest of a root."""
    issued_s: Seconds
    expires_s: Seconds
    """The manifest is not used from this second on."""
    keys: Annotated[tuple[ManifestKey, ...], Field(min_length=1, max_length=MAX_KEYS)]
    """Sorted by the start of their validity, without duplicates."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.issued_s >= self.expires_s:
            raise ValueError("the manifest expires before it is issued")
        if len({key.public for key in self.keys}) < len(self.keys):
            raise ValueError("a key is listed twice")
        begins = [key.not_before_s for key in self.keys]
        if begins != sorted(begins):
            raise ValueError("keys are not sorted by the start of their validity")
        return self

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return encode_item(self.model_dump(mode="python"))

    @property
    def fingerprint(self) -> str:
        """125 bits of SHA-256 of the canonical bytes in base32, five groups of five.

        People compare it: it is equal on all devices that have the same manifest.
        """
        return fingerprint(self.to_bytes())

    def key_at(self, now_s: float) -> VerifierPublicKey:
        """Return the newest key that is valid at ``now_s``.

        Raises :class:`ManifestRejected` if there is none.
        """
        for key in reversed(self.keys):
            if key.not_before_s <= now_s < key.not_after_s:
                return key.key
        raise ManifestRejected(
            f"none of the manifest's keys is valid at {_utc(now_s)}: check this clock, or ask "
            "the operator for a new manifest"
        )

    def check(self, *, now_s: float, least_serial: int) -> None:
        """Raise :class:`ManifestRejected` unless the manifest is valid at ``now_s`` and not older
        than ``least_serial``, which the device has seen."""
        if self.serial < least_serial:
            raise ManifestRejected(
                f"the manifest has serial {self.serial}, but this device has seen {least_serial}: "
                "ask the operator for the newest one"
            )
        if now_s < self.issued_s:
            raise ManifestRejected(
                f"the manifest was issued at {_utc(self.issued_s)}, but this clock says "
                f"{_utc(now_s)}: check this clock"
            )
        if now_s >= self.expires_s:
            raise ManifestRejected(
                f"the manifest expired at {_utc(self.expires_s)}: ask the operator for a new one"
            )


def sign(manifest: KeyManifest, root: RootKey) -> str:
    """Return the signed manifest: one line, without a newline."""
    data = manifest.to_bytes()
    return to_text(root.public.raw + root.sign(data, label=_LABEL) + data, _PREFIX)


def verify_manifest(text: str, *, pin: RootPin) -> KeyManifest:
    """Verify a manifest signed by the root of ``pin``, whatever its age.

    Raises :class:`ManifestRejected` unless both signatures verify and the bytes are canonical.
    :meth:`KeyManifest.check` checks whether it is valid now.
    """
    signed = _envelope(text)
    try:
        root = RootPublicKey(signed[:ROOT_PUBLIC_BYTES])
    except KeyFileError:
        raise ManifestRejected("the manifest has no valid root key: fetch it again") from None
    if root.pin != pin:
        raise ManifestRejected(
            f"the manifest was signed by root {root.pin.to_text()}, not {pin.to_text()}: ask the "
            "operator which root is theirs"
        )
    data = signed[_HEAD_BYTES:]
    root.verify(signed[ROOT_PUBLIC_BYTES:_HEAD_BYTES], data, label=_LABEL)
    return _decoded(data)


def open_manifest(text: str, *, pin: RootPin, now_s: float, least_serial: int) -> KeyManifest:
    """Verify a manifest by :func:`verify_manifest`, and check that it is valid now by
    :meth:`KeyManifest.check`. Raises :class:`ManifestRejected`."""
    manifest = verify_manifest(text, pin=pin)
    manifest.check(now_s=now_s, least_serial=least_serial)
    return manifest


def read_manifest_file(path: Path) -> str:
    """Return the text of a file with a signed manifest. Raises :class:`ManifestRejected`."""
    try:
        return read_text(
            path,
            secret=False,
            what="manifest",
            max_bytes=_MAX_TEXT_BYTES,
            missing="check the path, or ask the verifier's operator for it",
        )
    except KeyFileError as error:
        raise ManifestRejected(str(error)) from error


def _envelope(text: str) -> bytes:
    if len(text) > _MAX_TEXT_BYTES:
        raise ManifestRejected("the key manifest is too long: fetch it again")
    try:
        signed = from_text(text, _PREFIX, "a signed key manifest")
    except KeyFileError as error:
        raise ManifestRejected(f"{error}; fetch it again") from None
    if len(signed) <= _HEAD_BYTES:
        raise ManifestRejected("the manifest is truncated: fetch it again")
    return signed


def _decoded(data: bytes) -> KeyManifest:
    """Decode bytes that the root signed; if they are malformed, the signer made the mistake."""
    try:
        manifest = KeyManifest.model_validate(decode_item(data, max_depth=_MAX_DEPTH))
    except WireError as error:
        raise ManifestRejected(f"the signed data is not a manifest: {error}") from None
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise ManifestRejected(f"the signed data is not a manifest: {message}") from None
    if manifest.to_bytes() != data:
        raise ManifestRejected("the signed data is not a manifest: not canonical CBOR")
    return manifest


def _utc(seconds: float) -> str:
    moment = datetime.fromtimestamp(min(max(seconds, 0), _LAST_SECOND), UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
