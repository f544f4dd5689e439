"""The files of a verifier's keys, and the rotation from one key to the next::

    verifier.key                               current key; verifier.key.pub is for devices
    verifier.key.until-2026-12-28T101500Z      earlier key, accepted until then; has a .pub too

A running server notices changes of these files.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from ugsd_privacy.errors import FileLocked, KeyFileError
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.key_files import replace_text, sync_directory
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey

__all__ = ["MAX_EARLIER_KEYS", "KeyRing", "Rotation", "expiry_of", "public_file", "rotate"]

MAX_EARLIER_KEYS = 7
"""Most earlier keys that are accepted: a hello for an unknown key is tried with each."""

_END = "%Y-%m-%dT%H%M%SZ"
_EARLIER = re.compile(r"\.until-(\d{4}-\d\d-\d\dT\d{6}Z)\Z")
_SETTLED_NS = 2 * 10**9
"""Changes within one tick of a file system's clock look like one change."""

_logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


class KeyRing:
    """The keys that open a device's hello. ``now_s`` is the clock, seconds since 1970."""

    def __init__(self, path: Path, *, now_s: Callable[[], float] = time) -> None:
        """``path`` is the current key's file."""
        self._path = path.resolve()
        self._now_s = now_s
        self._latest_s = 0.0
        self._current: VerifierKey
        self._earlier: tuple[tuple[int, VerifierKey], ...] = ()
        self._stamp: _Stamp | None = None
        self._is_settled = False

    def load(self) -> None:
        """Read the keys. Raises :class:`KeyFileError` and then keeps the keys read before."""
        self._stamp = _stamp(self._path)  # before reading, so that a later change is noticed
        self._is_settled = False
        current = VerifierKey.load(self._path)
        files = sorted(_earlier_files(self._path), reverse=True)
        valid = [(ends_s, file) for ends_s, file in files if ends_s > self._time()]
        earlier = [(ends_s, VerifierKey.load(file)) for ends_s, file in valid[:MAX_EARLIER_KEYS]]
        self._current, self._earlier = current, tuple(earlier)
        self._is_settled = _is_settled(self._stamp)

    def accepted_keys(self) -> tuple[VerifierKey, ...]:
        """Return the current key and the earlier keys that have not expired, latest end first.

        Costs two ``stat`` calls if no file changed. Keys stay as they were if files cannot be read.
        Call :meth:`load` first.
        """
        stamp = _stamp(self._path)
        if stamp != self._stamp or not self._is_settled:
            has_changed = stamp != self._stamp
            try:
                self.load()
            except KeyFileError as error:
                if has_changed:
                    _logger.error("keys not reloaded, earlier ones in use: %s", error)  # noqa: TRY400
        now_s = self._time()
        return (self._current, *(key for ends_s, key in self._earlier if now_s < ends_s))

    def _time(self) -> float:
        """Return a time that never decreases: a clock that is set back revives no expired key."""
        self._latest_s = max(self._latest_s, self._now_s())
        return self._latest_s


@dataclass(frozen=True)
class Rotation:
    """The result of :func:`rotate`."""

    public: VerifierPublicKey
    """The new current key."""
    retained: Path | None
    """File of the previous key; ``None`` if it was removed at once."""
    ends_s: int
    """When the previous key expires, in seconds since 1970."""
    removed: tuple[Path, ...]
    """Removed files of expired keys."""


def rotate(path: Path, *, overlap_s: float, now_s: float) -> Rotation:
    """Replace the key in the file ``path``; the previous key is accepted for ``overlap_s`` more.

    A crash at any step leaves a usable current key and loses no key that a device knows; call
    again after one. Raises :class:`KeyFileError`.
    """
    path = path.resolve()
    try:
        # Waiting for another rotation would rotate twice.
        with file_lock(path.parent, 0, is_folder=True):
            return _rotate(path, ends_s=int(now_s + overlap_s), now_s=now_s)
    except FileLocked as error:
        raise KeyFileError(
            f"another process is rotating keys in {path.parent}: wait until it has finished"
        ) from error
    except OSError as error:
        raise KeyFileError(f"cannot rotate {path}: {error.strerror}; fix that first") from error


def public_file(path: Path) -> Path:
    """Return the file of the public half of the key at ``path``."""
    return path.with_name(f"{path.name}.pub")


def expiry_of(path: Path) -> int | None:
    """Return when the key in a file ends, in seconds since 1970; ``None`` for a current key."""
    found = _EARLIER.search(path.name.removesuffix(".pub"))
    if found is None:
        return None
    try:
        return int(datetime.strptime(found[1], _END).replace(tzinfo=UTC).timestamp())
    except ValueError:  # the 31st of February
        return None


def _rotate(path: Path, *, ends_s: int, now_s: float) -> Rotation:
    current = VerifierKey.load(path)
    valid = [file for end_s, file in _earlier_files(path) if end_s > now_s]
    if len(valid) >= MAX_EARLIER_KEYS:
        raise KeyFileError(
            f"{len(valid)} earlier keys are still accepted: remove {min(valid)} first"
        )
    draft = path.with_name(f"{path.name}.next")
    draft.unlink(missing_ok=True)  # left by a crash, before anybody learned of it
    new = VerifierKey.generate()
    new.save(draft)
    retained = _retain(path, current, ends_s) if ends_s > now_s else None
    draft.replace(path)
    sync_directory(path.parent)
    replace_text(public_file(path), new.public.to_text())
    return Rotation(new.public, retained, ends_s, tuple(_remove_expired(path, now_s)))


def _retain(path: Path, key: VerifierKey, ends_s: int) -> Path:
    """Link the current key to a second name, which remains when the new key takes the first."""
    retained = path.with_name(f"{path.name}.until-{datetime.fromtimestamp(ends_s, UTC):{_END}}")
    try:
        os.link(path, retained)
    except FileExistsError:
        raise KeyFileError(f"{retained} exists: choose another overlap, or wait a second") from None
    except OSError:  # a file system without hard links
        key.save(retained)
    replace_text(public_file(retained), key.public.to_text())  # makes the link durable, too
    return retained


def _remove_expired(path: Path, now_s: float) -> Iterator[Path]:
    """Remove expired keys, so that nobody can steal them."""
    for ends_s, file in sorted(_earlier_files(path)):
        if ends_s <= now_s:
            public_file(file).unlink(missing_ok=True)
            file.unlink()
            yield file
    sync_directory(path.parent)


def _earlier_files(path: Path) -> Iterator[tuple[int, Path]]:
    """Yield the ends and files of earlier keys."""
    try:
        files = list(path.parent.iterdir())
    except OSError as error:
        raise KeyFileError(f"cannot list {path.parent}: fix its permissions") from error
    for file in files:
        ends_s = expiry_of(file)
        if ends_s is not None and _EARLIER.sub("", file.name) == path.name:
            yield ends_s, file


def _stamp(path: Path) -> _Stamp | None:
    """Return a value that changes when a key file does; ``None`` without a current key."""
    try:
        folder, file = path.parent.stat(), path.stat()
    except OSError:
        return None
    return folder.st_mtime_ns, file.st_ctime_ns, file.st_ino


def _is_settled(stamp: _Stamp | None) -> bool:
    return stamp is not None and max(stamp[:2]) + _SETTLED_NS < time() * 1e9
