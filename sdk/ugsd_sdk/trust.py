"""A verifier's key by way of the root that vouches for it, and what this device saw of manifests.

The manifest is read anew for each connection, so that a new file beside a running device is enough
to change keys. The highest serial and the latest time seen outlive the process: an older manifest
is refused, and a clock that was set back makes no expired one valid again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Annotated

from pydantic import Field, ValidationError
from ugsd_privacy.errors import KeyFileError, ManifestRejected
from ugsd_privacy.key_files import read_text, replace_text, require_not_writable
from ugsd_privacy.keys import VerifierPublicKey
from ugsd_privacy.manifest import KeyManifest, read_manifest_file, verify_manifest
from ugsd_privacy.root import RootPin
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.errors import Untrusted
from ugsd_sdk.file_lock import locked

__all__ = ["TrustedRoot"]

_OWNER_ONLY = 0o600
_Count = Annotated[int, Field(ge=0)]


class _Seen(StrictModel):
    """What was seen of one root's manifests."""

    serial: _Count = 0
    """The highest one."""
    latest_s: _Count = 0
    """The latest time, seconds since 1970."""

    def after(self, manifest: KeyManifest, now_s: float) -> _Seen:
        """With one more manifest. Its end is as late as a time counts: it has expired for good
        then, while a clock that was wrong for a while must not expire the next ones too."""
        return _Seen(
            serial=max(self.serial, manifest.serial),
            latest_s=max(self.latest_s, int(min(now_s, manifest.expires_s))),
        )


class TrustedRoot:
    """The keys that the root of ``pin`` vouches for in the file ``manifest``.

    ``folder`` keeps what was seen of that root. ``now_s`` is the clock, seconds since 1970.
    """

    def __init__(
        self, pin: RootPin, manifest: Path, folder: Path, *, now_s: Callable[[], float] = time
    ) -> None:
        self._pin = pin
        self._manifest = manifest
        self._seen = folder / f"{pin.digest.hex()[:32]}.json"
        self._now_s = now_s

    def key(self) -> VerifierPublicKey:
        """The key to seal to now.

        Raises :class:`Untrusted` where there is none, or what was seen cannot be kept.
        """
        try:
            manifest = verify_manifest(read_manifest_file(self._manifest), pin=self._pin)
            now_s = self._now_s()
            with locked(self._made()):
                before = self._read()
                after = before.after(manifest, now_s)
                if after != before:
                    replace_text(self._seen, after.model_dump_json(), mode=_OWNER_ONLY)
            now_s = max(now_s, after.latest_s)
            manifest.check(now_s=now_s, least_serial=after.serial)
            return manifest.key_at(now_s)
        except ManifestRejected as error:
            raise Untrusted(f"{self._manifest}: {error}") from error
        except KeyFileError as error:
            raise Untrusted(f"what was seen of the verifier's manifests: {error}") from error
        except OSError as error:
            raise Untrusted(
                f"what was seen of the verifier's manifests cannot be kept in {self._seen}: "
                "check its permissions, or free some space"
            ) from error

    def _made(self) -> Path:
        """The file of what was seen, whose folder there is now."""
        for folder in (self._seen.parent.parent, self._seen.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_not_writable(folder)
        return self._seen

    def _read(self) -> _Seen:
        """Raises ``KeyFileError`` where it cannot be read or was damaged."""
        if not self._seen.exists():
            return _Seen()
        text = read_text(self._seen, secret=True, what="record")
        try:
            return _Seen.model_validate_json(text)
        except ValidationError:
            raise KeyFileError(
                f"{self._seen} is damaged: delete it if the manifest is surely the newest"
            ) from None
