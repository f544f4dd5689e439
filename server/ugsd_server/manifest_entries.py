"""Which keys the next manifest lists, and from when to when."""

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
    """When it ends, if that is known; else with the manifest."""


def next_manifest(
    listed: Sequence[ManifestEntry],
    previous: KeyManifest | None,
    *,
    serial: int | None,
    issued_s: int,
    expires_s: int,
    begins_s: int | None = None,
) -> KeyManifest:
    """The manifest after ``previous``, of ``serial`` or the next one.

    A key of the previous manifest begins as it did there, a new one at ``begins_s`` or when this
    one is issued; of several new ones the last counts as the newest. Raises :class:`KeyFileError`
    for what no manifest may state.
    """
    least = 1 if previous is None else previous.serial + 1
    if serial is not None and serial < least:
        raise KeyFileError(f"the serial must grow: give {least} or more")
    began = {} if previous is None else {key.public: key.not_before_s for key in previous.keys}
    new_s = issued_s if begins_s is None else begins_s
    keys = []
    for one in listed:
        ends_s = expires_s if one.ends_s is None else one.ends_s
        if ends_s <= issued_s:
            raise KeyFileError(f"the time of key {one.key.fingerprint} is over: leave it out")
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
        raise KeyFileError(f"no such manifest can be signed: {fault['msg']}") from None
