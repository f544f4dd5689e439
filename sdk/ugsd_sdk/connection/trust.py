"""A verifier's key by way of the root that vouches for it, and what this device saw of manifests.

The manifest is read anew for each connection, so that a new file beside a running device is enough
to change keys. The highest serial and the latest time seen outlive the process: an older manifest
is refused, and a clock that was set back makes no expired one valid again. Where what was seen was
lost, every manifest is refused until the owner accepts one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Annotated

from pydantic import Field, ValidationError
from ugsd_privacy.errors import KeyFileError, ManifestRejected
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.key_files import (
    make_private_folder,
    read_text,
    replace_text,
    require_not_writable,
)
from ugsd_privacy.files.marks import Mark, MarkFile
from ugsd_privacy.keys.manifest import KeyManifest, read_manifest_file, verify_manifest
from ugsd_privacy.keys.root import RootPin
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.errors import VerifierUntrusted

__all__ = ["TrustedRoot"]

_OWNER_ONLY = 0o600
_REMEDY = (
    "restore it from a backup; or ask the operator for the newest manifest, and where its digest "
    "is the operator's, run: ugsd trust accept"
)
_Count = Annotated[int, Field(ge=0)]


class _ManifestState(StrictModel):
    """What was seen of one root's manifests."""

    serial: _Count = 0
    """The highest one."""
    latest_s: _Count = 0
    """The latest time, seconds since 1970."""

    def joined(self, mark: Mark | None) -> _ManifestState:
        """The later of this and a mark of it."""
        if mark is None:
            return self
        return _ManifestState(
            serial=max(self.serial, mark[0]), latest_s=max(self.latest_s, mark[1])
        )

    def after(self, manifest: KeyManifest, now_s: float) -> _ManifestState:
        """With one more manifest. Its end is as late as a time counts: it has expired for good
        then, while a clock that was wrong for a while must not expire the next ones too."""
        return _ManifestState(
            serial=max(self.serial, manifest.serial),
            latest_s=max(self.latest_s, int(min(now_s, manifest.expires_s))),
        )


class TrustedRoot:
    """The keys that the root of ``pin`` vouches for in the file ``manifest``.

    ``folder`` keeps what was seen of that root, and a file of marks beside it says that it does:
    where one of the two was lost, no manifest is used until :meth:`accept`. ``made_after`` is a
    file that is made after the marks, say the log's key: where it exists, the marks must. ``now_s``
    is the clock, seconds since 1970.
    """

    def __init__(
        self,
        pin: RootPin,
        manifest: Path,
        folder: Path,
        *,
        made_after: Path | None = None,
        now_s: Callable[[], float] = time,
    ) -> None:
        self._pin = pin
        self._manifest = manifest
        self._name = pin.digest.hex()[:32]
        self._seen = folder / f"{self._name}.json"
        self._marks = MarkFile(folder, made_after=made_after)
        self._now_s = now_s

    def key(self) -> VerifierPublicKey:
        """The key to seal to now.

        Raises :class:`VerifierUntrusted` where there is none, or what was seen was lost or cannot
        be kept.
        """
        with self._told():
            manifest = self._verified()
            now_s = self._now_s()
            with file_lock(self._made()):
                seen = self._noted(self._read(), manifest, now_s)
            now_s = max(now_s, seen.latest_s)
            manifest.check(now_s=now_s, least_serial=seen.serial)
            return manifest.key_at(now_s)

    def manifest(self) -> KeyManifest:
        """What the root signed, whether it is to be used now or not; nothing is kept of it. Raises
        :class:`VerifierUntrusted`."""
        with self._told():
            return self._verified()

    def accept(self) -> KeyManifest:
        """Take the manifest as the newest one where what was seen was lost, and keep that it was
        seen; what the marks still know holds. The manifest that was accepted.

        Raises :class:`VerifierUntrusted` for a manifest that is not to be used now.
        """
        with self._told():
            manifest = self._verified()
            now_s = self._now_s()
            with file_lock(self._made()):
                known = self._known()
                now_s = max(now_s, known.latest_s)
                manifest.check(now_s=now_s, least_serial=known.serial)
                manifest.key_at(now_s)
                self._keep(known.after(manifest, now_s))
            return manifest

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ManifestRejected as error:
            raise VerifierUntrusted(f"{self._manifest}: {error}") from error
        except KeyFileError as error:
            raise VerifierUntrusted(
                f"what was seen of the verifier's manifests: {error}"
            ) from error
        except OSError as error:
            raise VerifierUntrusted(
                f"what was seen of the verifier's manifests cannot be kept in {self._seen}: "
                "check its permissions, or free some space"
            ) from error

    def _verified(self) -> KeyManifest:
        return verify_manifest(read_manifest_file(self._manifest), pin=self._pin)

    def _made(self) -> Path:
        """The file of what was seen, whose folder exists now."""
        for folder in (self._seen.parent.parent, self._seen.parent):
            make_private_folder(folder)
            require_not_writable(folder)
        return self._seen

    def _noted(self, before: _ManifestState, manifest: KeyManifest, now_s: float) -> _ManifestState:
        after = before.after(manifest, now_s)
        if after != before:
            self._keep(after)
        return after

    def _keep(self, seen: _ManifestState) -> None:
        """In this order: a crash in between leaves no mark of what is not kept."""
        self._marks.make()
        replace_text(self._seen, seen.model_dump_json(), mode=_OWNER_ONLY)
        with file_lock(self._marks.path):  # which has other roots' marks too
            self._marks.put(self._name, (seen.serial, seen.latest_s))

    def _read(self) -> _ManifestState:
        """What was seen, by the record and by its mark. Raises ``KeyFileError`` where one of them
        was lost, or cannot be read or was damaged."""
        mark, is_kept = self._marks.read().get(self._name), self._seen.exists()
        lost = self._seen if mark is not None and not is_kept else None
        if self._marks.is_lost() or (is_kept and not self._marks.path.exists()):
            lost = self._marks.path
        if lost is not None:
            raise KeyFileError(f"{lost} was lost, so an older manifest could pass: {_REMEDY}")
        if not is_kept:
            return _ManifestState()
        return self._recorded().joined(mark)

    def _known(self) -> _ManifestState:
        """What is left to know of what was seen; damaged files say nothing and are replaced."""
        known = _ManifestState()
        try:
            known = known.joined(self._marks.read().get(self._name))
        except KeyFileError:
            self._marks.start_again()
        try:
            return self._recorded().joined((known.serial, known.latest_s))
        except KeyFileError:
            return known

    def _recorded(self) -> _ManifestState:
        text = read_text(self._seen, secret=True, what="record")
        try:
            return _ManifestState.model_validate_json(text)
        except ValidationError:
            raise KeyFileError(f"{self._seen} is damaged: {_REMEDY}") from None
