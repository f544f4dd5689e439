"""A verifier's keys in their files, and how the current one gives way to the next::

    verifier.key                               the current one, and verifier.key.pub for devices
    verifier.key.until-2026-12-28T101500Z      an earlier one, which opens hellos until then; .pub

A running server notices by itself what becomes of these files.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.key_files import replace_text, sync_directory
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey

try:
    import fcntl
except ImportError:  # no such lock on Windows: rotate one at a time there
    fcntl = None  # type: ignore[assignment]

__all__ = ["MAX_EARLIER_KEYS", "KeyRing", "Rotation", "expiry_of", "public_file", "rotate"]

MAX_EARLIER_KEYS = 7
"""Most earlier keys that are opened: each is one more trial for a hello that fits none."""

_END = "%Y-%m-%dT%H%M%SZ"
_EARLIER = re.compile(r"\.until-(\d{4}-\d\d-\d\dT\d{6}Z)\Z")
_SETTLED_NS = 2 * 10**9
"""Changes that follow each other faster than a file system's clock ticks look like one."""

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
        """Read the keys. Raises :class:`KeyFileError`; what was read before is then kept."""
        self._stamp = _stamp(self._path)  # before reading: what changes meanwhile is seen later
        self._is_settled = False
        current = VerifierKey.load(self._path)
        files = sorted(_earlier_files(self._path), reverse=True)
        due = [(ends_s, file) for ends_s, file in files if ends_s > self._time()]
        earlier = [(ends_s, VerifierKey.load(file)) for ends_s, file in due[:MAX_EARLIER_KEYS]]
        self._current, self._earlier = current, tuple(earlier)
        self._is_settled = _is_settled(self._stamp)

    def accepted_keys(self) -> tuple[VerifierKey, ...]:
        """The current key, and every earlier one whose end has not come: that of the latest first.

        Two look-ups of files, unless they changed. Files that cannot be read leave the keys as they
        were. :meth:`load` comes first.
        """
        stamp = _stamp(self._path)
        if stamp != self._stamp or not self._is_settled:
            is_news = stamp != self._stamp
            try:
                self.load()
            except KeyFileError as error:
                if is_news:
                    _logger.error("the keys are left as they were: %s", error)  # noqa: TRY400
        now_s = self._time()
        return (self._current, *(key for ends_s, key in self._earlier if now_s < ends_s))

    def _time(self) -> float:
        """A clock set back opens no key again."""
        self._latest_s = max(self._latest_s, self._now_s())
        return self._latest_s


@dataclass(frozen=True)
class Rotation:
    """What :func:`rotate` did."""

    public: VerifierPublicKey
    """The next key, which is the current one now."""
    retained: Path | None
    """Where the key before it is kept; none where it was dropped at once."""
    ends_s: int
    """From this second on that one opens nothing."""
    removed: tuple[Path, ...]
    """Files of keys whose end had come."""


def rotate(path: Path, *, overlap_s: float, now_s: float) -> Rotation:
    """Make the next key of the file ``path``; the current one is opened for ``overlap_s`` more.

    A crash at any step leaves a usable current key, and no key lost that a device was given; call
    again then. Raises :class:`KeyFileError`.
    """
    path = path.resolve()
    try:
        with _exclusive_folder(path.parent):
            return _rotate(path, ends_s=int(now_s + overlap_s), now_s=now_s)
    except OSError as error:
        raise KeyFileError(f"cannot rotate {path}: {error.strerror}; mend that first") from error


def public_file(path: Path) -> Path:
    """Where the public half of the key at ``path`` is."""
    return path.with_name(f"{path.name}.pub")


def expiry_of(path: Path) -> int | None:
    """When the key that a file holds ends, in seconds since 1970; none for one that is current."""
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
        raise KeyFileError(f"{len(valid)} earlier keys are still open: remove {min(valid)} first")
    draft = path.with_name(f"{path.name}.next")
    draft.unlink(missing_ok=True)  # a crash left it before anybody was given it
    coming = VerifierKey.generate()
    coming.save(draft)
    kept = _kept(path, current, ends_s) if ends_s > now_s else None
    draft.replace(path)
    sync_directory(path.parent)
    replace_text(public_file(path), coming.public.to_text())
    return Rotation(coming.public, kept, ends_s, tuple(_removed(path, now_s)))


def _kept(path: Path, key: VerifierKey, ends_s: int) -> Path:
    """Give the current key its second name, which it keeps when the first goes to the next."""
    kept = path.with_name(f"{path.name}.until-{datetime.fromtimestamp(ends_s, UTC):{_END}}")
    try:
        os.link(path, kept)
    except FileExistsError:
        raise KeyFileError(f"{kept} exists: choose another overlap, or wait a second") from None
    replace_text(public_file(kept), key.public.to_text())  # makes the link durable, too
    return kept


def _removed(path: Path, now_s: float) -> Iterator[Path]:
    """Remove the keys whose end has come: what is gone cannot be stolen."""
    for ends_s, file in sorted(_earlier_files(path)):
        if ends_s <= now_s:
            public_file(file).unlink(missing_ok=True)
            file.unlink()
            yield file
    sync_directory(path.parent)


def _earlier_files(path: Path) -> Iterator[tuple[int, Path]]:
    """Earlier keys and their ends."""
    try:
        files = list(path.parent.iterdir())
    except OSError as error:
        raise KeyFileError(f"cannot list {path.parent}: mend its permissions") from error
    for file in files:
        ends_s = expiry_of(file)
        if ends_s is not None and _EARLIER.sub("", file.name) == path.name:
            yield ends_s, file


def _stamp(path: Path) -> _Stamp | None:
    """What changes when keys come, go or change; none where there is no current one."""
    try:
        folder, file = path.parent.stat(), path.stat()
    except OSError:
        return None
    return folder.st_mtime_ns, file.st_ctime_ns, file.st_ino


def _is_settled(stamp: _Stamp | None) -> bool:
    return stamp is not None and max(stamp[:2]) + _SETTLED_NS < time() * 1e9


@contextmanager
def _exclusive_folder(folder: Path) -> Iterator[None]:
    """Raises :class:`KeyFileError` while another process is in there."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KeyFileError(f"keys in {folder} are being rotated already: wait") from None
        yield
    finally:
        os.close(descriptor)
