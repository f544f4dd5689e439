"""Signed manifests and a device that reads them, for the tests of trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey, sign
from ugsd_privacy.keys.root import RootKey
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.errors import VerifierUntrusted

from tests.doubles.reasons import why_of

DAY = 86_400
BEGIN = 1_800_000_000
ROOT = RootKey.generate()
KEYS = [VerifierKey.generate().public for _ in range(3)]
NOT_TRUSTED = "key_not_trusted"


def signed(
    serial: int,
    *keys: VerifierPublicKey,
    begins_s: int = BEGIN,
    days: int = 10,
    root: RootKey = ROOT,
) -> str:
    ends_s = begins_s + days * DAY
    listed = tuple(
        ManifestKey(public=key.raw, not_before_s=begins_s, not_after_s=ends_s) for key in keys
    )
    manifest = KeyManifest(serial=serial, issued_s=begins_s, expires_s=ends_s, keys=listed)
    return sign(manifest, root)


class Device:
    """A device's manifest, record and clock for one root."""

    def __init__(self, folder: Path) -> None:
        self.manifest = folder / "verifier.manifest"
        self.home = folder / "home"
        self.now_s = float(BEGIN)

    @property
    def record(self) -> Path:
        (record,) = (self.home / "trust").glob("*.json")
        return record

    def new_root(self) -> TrustedRoot:
        """Return a new object, as after a restart: only files remain of earlier ones."""
        return TrustedRoot(
            ROOT.public.pin, self.manifest, self.home / "trust", now_s=lambda: self.now_s
        )

    def key(self, text: str | None = None, now_s: float | None = None) -> VerifierPublicKey:
        if text is not None:
            self.manifest.write_text(text)
        if now_s is not None:
            self.now_s = now_s
        return self.new_root().key()

    def refuses(self, message: str, text: str | None = None, now_s: float | None = None) -> None:
        with pytest.raises(VerifierUntrusted, match=message) as refused:
            self.key(text, now_s)
        assert why_of(refused.value.reason) == NOT_TRUSTED
