"""The keys that the next manifest lists, and when each is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey
from ugsd_privacy.keys.verifier import VerifierPublicKey

__all__ = ["ManifestEntry", "next_manifest"]


@dataclass(frozen=True)
class ManifestEntry:
    """A key to list. Times are seconds since 1970."""

    key: VerifierPublicKey
    ends_s: int | None = None
    """When the key ends; ``None`` for the end of the manifest."""


def next_manifest(
    listed: Sequence[ManifestEntry],
    previous: KeyManifest | None,
    *,
    serial: int | None,
    issued_s: int,
    expires_s: int,
    begins_s: int | None = None,
) -> KeyManifest:
    """Return the manifest that follows ``previous``, with ``serial`` or the next serial.

    A key of the previous manifest keeps its start; a new key starts at ``begins_s``, by default
    when this manifest is issued. The last of several new keys is the newest. Raises
    :class:`KeyFileError` for an invalid manifest.
    """
    least = 1 if previous is None else previous.serial + 1
    if serial is not None and serial < least:
        raise KeyFileError(f"the serial must increase: give {least} or more")
    began = {} if previous is None else {key.public: key.not_before_s for key in previous.keys}
    new_s = issued_s if begins_s is None else begins_s
    keys = []
    for one in listed:
        ends_s = expires_s if one.ends_s is None else one.ends_s
        if ends_s <= issued_s:
            raise KeyFileError(f"key {one.key.fingerprint} has expired: leave it out")
        keys.append((began.get(one.key.raw, new_s), ends_s, one.key.raw))
    try:
        return KeyManifest(
            serial=serial or least,
            issued_s=issued_s,
            expires_s=expires_s,
            keys=tuple(
                ManifestKey(public=raw, not_before_s=begin_s, not_after_s=end_s)
                for begin_s, end_s, raw in sorted(keys, key=lambda key: key[0])
            ),
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise KeyFileError(
            f"the manifest would be invalid, so change its options: {fault['msg']}"
        ) from None
