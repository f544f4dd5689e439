"""A verifier's key from a manifest that its root signed, and the record of earlier manifests.

The manifest is read for each connection, so replacing the file changes the key of a running device.
The highest serial and the latest time seen are stored: an older manifest is refused, and setting
the clock back makes no expired manifest valid. If this record was lost, every manifest is refused
until the owner accepts one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Annotated

from pydantic import Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import FileLocked, KeyFileError, ManifestRejected
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.file_owners import make_private_folder, remedy_of, require_not_writable
from ugsd_privacy.files.key_files import read_text, replace_text
from ugsd_privacy.files.marks import Mark, MarkFile
from ugsd_privacy.keys.manifest import KeyManifest, read_manifest_file, verify_manifest
from ugsd_privacy.keys.root import RootPin
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.errors import VerifierUntrusted

__all__ = ["TrustedRoot"]

_OWNER_ONLY = 0o600
_MAX_ITEMS = 100
_LOCK_TIMEOUT_S = 2.0
_REMEDY = (
    "restore it from a backup; or get the newest manifest, compare its digest with the operator's, "
    "and run: ugsd trust accept"
)
_Count = Annotated[int, Field(ge=0)]


class _ManifestState(StrictModel):
    """The record of one root's manifests."""

    serial: _Count = 0
    """The highest serial seen."""
    latest_s: _Count = 0
    """The latest time seen, in seconds since 1970."""

    def joined(self, mark: Mark | None) -> _ManifestState:
        """Return the later values of this record and its mark."""
        if mark is None:
            return self
        return _ManifestState(
            serial=max(self.serial, mark[0]), latest_s=max(self.latest_s, mark[1])
        )

    def after(self, manifest: KeyManifest, now_s: float) -> _ManifestState:
        """Return the record after one more manifest. It stores no time after the manifest's end, so
        that a clock that was wrong for a while does not expire later manifests."""
        return _ManifestState(
            serial=max(self.serial, manifest.serial),
            latest_s=max(self.latest_s, int(min(now_s, manifest.expires_s))),
        )


class TrustedRoot:
    """The keys in the file ``manifest`` that the root of ``pin`` signed.

    ``folder`` contains the record of that root's manifests, and a file of marks beside it notes
    that the record exists: if one of the two was lost, no manifest is used until :meth:`accept`.
    ``made_after`` is a file created after the marks, such as the log's key: if it exists, the marks
    must exist too. ``now_s`` is the clock, in seconds since 1970.
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
        self._record = folder / f"{self._name}.json"
        self._marks = MarkFile(folder, made_after=made_after)
        self._now_s = now_s

    def key(self) -> VerifierPublicKey:
        """Return the key to seal to now.

        Raises :class:`VerifierUntrusted` if there is none, or the record of earlier manifests was
        lost or cannot be written.
        """
        with self._typed_errors():
            manifest = self._verified()
            now_s = self._now_s()
            with file_lock(self._prepared(), _LOCK_TIMEOUT_S):
                state = self._updated(self._read(), manifest, now_s)
            now_s = max(now_s, state.latest_s)
            manifest.check(now_s=now_s, least_serial=state.serial)
            return manifest.key_at(now_s)

    def manifest(self) -> KeyManifest:
        """Return the signed manifest, whether it is valid now or not, and record nothing. Raises
        :class:`VerifierUntrusted`."""
        with self._typed_errors():
            return self._verified()

    def accept(self) -> KeyManifest:
        """Accept the manifest as the newest one after the record was lost, and record it.

        It must not be older than what remains of the record and its mark. Returns the manifest.
        Raises :class:`VerifierUntrusted` for a manifest that is not valid now.
        """
        with self._typed_errors():
            manifest = self._verified()
            now_s = self._now_s()
            with file_lock(self._prepared(), _LOCK_TIMEOUT_S):
                known = self._recovered()
                now_s = max(now_s, known.latest_s)
                manifest.check(now_s=now_s, least_serial=known.serial)
                manifest.key_at(now_s)
                self._write(known.after(manifest, now_s))
            return manifest

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except ManifestRejected as error:
            path, message = str(self._manifest), str(error)
            named = message if path in message else f"{path}: {message}"
            raise VerifierUntrusted(named) from error
        except (FileLocked, KeyFileError) as error:
            raise VerifierUntrusted(f"the record of the verifier's manifests: {error}") from error
        except OSError as error:
            raise VerifierUntrusted(
                f"the record of the verifier's manifests, {self._record}, cannot be written: "
                f"{error.strerror}: {remedy_of(error, self._record.parent)}"
            ) from error

    def _verified(self) -> KeyManifest:
        return verify_manifest(read_manifest_file(self._manifest), pin=self._pin)

    def _prepared(self) -> Path:
        """Return the record's path, after creating its folder."""
        for folder in (self._record.parent.parent, self._record.parent):
            make_private_folder(folder)
            require_not_writable(folder)
        return self._record

    def _updated(
        self, before: _ManifestState, manifest: KeyManifest, now_s: float
    ) -> _ManifestState:
        after = before.after(manifest, now_s)
        if after != before:
            self._write(after)
        return after

    def _write(self, state: _ManifestState) -> None:
        """Write the record before its mark: a crash in between leaves no mark without a record."""
        self._marks.make()
        replace_text(self._record, state.model_dump_json(), mode=_OWNER_ONLY)
        with file_lock(self._marks.path, _LOCK_TIMEOUT_S):  # the file has other roots' marks too
            self._marks.put(self._name, (state.serial, state.latest_s))

    def _read(self) -> _ManifestState:
        """Return the record joined with its mark. Raises ``KeyFileError`` if one of them was lost,
        is damaged or cannot be read."""
        mark, is_recorded = self._marks.read().get(self._name), self._record.exists()
        lost = self._record if mark is not None and not is_recorded else None
        if self._marks.is_lost() or (is_recorded and not self._marks.path.exists()):
            lost = self._marks.path
        if lost is not None:
            raise KeyFileError(
                f"{lost} was lost, so an older manifest could be accepted: {_REMEDY}"
            )
        if not is_recorded:
            return _ManifestState()
        return self._recorded().joined(mark)

    def _recovered(self) -> _ManifestState:
        """Return what is left of the record and its mark; damaged files are ignored."""
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
        text = read_text(self._record, secret=True, what="record")
        try:
            return read_json(_ManifestState, text, max_items=_MAX_ITEMS)
        except ValueError:
            raise KeyFileError(f"{self._record} is damaged: {_REMEDY}") from None
