"""Files of keys and manifests: one line, with a versioned prefix and base64url.

Private key files hold raw seeds. They are created exclusively, with mode 0600, and refused if they
belong to another user or if anyone but their owner may read them; public ones may belong to root
too. Creating one needs a file system with hard links, so that no reader ever sees half a key.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.file_owners import (
    remedy_of,
    require_not_writable_by_others,
    require_owned_by_us,
)

__all__ = [
    "create_private",
    "from_text",
    "read_key",
    "read_text",
    "replace_text",
    "sync_directory",
    "to_text",
]

_Key = TypeVar("_Key")
_MAX_FILE_BYTES = 4096
_NO_HARD_LINKS = {
    *(errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK),
    errno.EACCES,
}
"""What systems report where hard links do not exist or, as on Android, are not allowed."""
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_RESTORE = "give the right file, or restore it from a backup"
_PRIVATE_TEXT = re.compile(r"ugsd-[a-z]sk1:")
_PUBLIC_TEXT = re.compile(r"ugsd-(vk1|ok1|root1):|[^\s+]+\+[0-9a-f]{8}\+[\w/=+-]+$")


def to_text(raw: bytes, prefix: str) -> str:
    """Encode ``raw`` as ``prefix`` and unpadded base64url (RFC 4648 §5)."""
    return prefix + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def from_text(text: str, prefix: str, what: str) -> bytes:
    """Decode the text that :func:`to_text` returns, and no other encoding of the same bytes.

    Raises :class:`KeyFileError` that names ``what`` was expected.
    """
    text = text.strip()
    if not text.startswith(prefix):
        raise KeyFileError(f"not {what}, whose text starts with {prefix!r}")
    encoded = text.removeprefix(prefix)
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        raise KeyFileError(f"not {what}: damaged base64url") from None
    if (
        to_text(raw, prefix) != text
    ):  # stray characters and stray bits are decoded, but not canonical
        raise KeyFileError(f"not {what}: damaged base64url")
    return raw


def create_private(path: Path, text: str) -> None:
    """Create ``path`` atomically with mode 0600. Raises :class:`KeyFileError` if it exists.

    On a file system without hard links, such as exFAT, a crash at a bad moment leaves it empty.
    """
    draft = _draft_of(path)
    try:
        try:
            _write(draft, text, mode=0o600)
            _name_file(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError:
        raise KeyFileError(f"{path} exists; move it away to replace the key") from None
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot create the key file {path}: {_remedy(error, path)}") from error


def _name_file(draft: Path, path: Path) -> None:
    """Give ``draft`` the name ``path``, which nothing may have. The draft may keep its own."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        draft.replace(path)


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace ``path`` atomically: after a crash it has either the old or the new text.

    The umask applies to ``mode``. Raises :class:`KeyFileError`.
    """
    draft = _draft_of(path)
    try:
        try:
            _write(draft, text, mode=mode)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot write {path}: {_remedy(error, path)}") from error


def _remedy(error: OSError | ValueError, path: Path) -> str:
    """Return the cause of the ``error`` at ``path``, and what to do."""
    if not isinstance(error, OSError):
        return "check the path"
    return f"{error.strerror}: {remedy_of(error, path.parent)}"


def sync_directory(path: Path) -> None:
    """Make creations, renames and deletions in ``path`` durable, if its file system can."""
    if os.name != "posix":  # other systems cannot open a directory
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def read_key(
    path: Path,
    parse: Callable[[str], _Key],
    *,
    secret: bool,
    other_half: str,
    what: str = "key file",
) -> _Key:
    """Return what ``parse`` makes of the text of a key file.

    Raises :class:`KeyFileError` like :func:`read_text`, and with the path for each fault that
    ``parse`` raises. If the file holds the public key where the private one is wanted, or the
    reverse, the message says to give ``other_half``.
    """
    try:
        text = read_text(path, secret=secret, what=what)
    except KeyFileError:
        if secret:  # a public key may be read by others, which is not its fault
            with suppress(OSError, UnicodeDecodeError):
                _refuse_half(path, read_regular(path, _MAX_FILE_BYTES).decode("ascii"), other_half)
        raise
    _refuse_half(path, text, other_half, is_private=not secret)
    try:
        return parse(text)
    except KeyFileError as error:
        raise KeyFileError(f"{path}: {error}: {_RESTORE}") from error


def _refuse_half(path: Path, text: str, other_half: str, *, is_private: bool = False) -> None:
    """Raise :class:`KeyFileError` for a private key or, by default, for a public one."""
    if (_PRIVATE_TEXT if is_private else _PUBLIC_TEXT).match(text.strip()):
        kind = "private" if is_private else "public"
        raise KeyFileError(f"{path}: this is a {kind} key: give {other_half}")


def read_text(
    path: Path,
    *,
    secret: bool,
    what: str = "key file",
    max_bytes: int = _MAX_FILE_BYTES,
    missing: str | None = None,
) -> str:
    """Return the ASCII text of ``path``, of at most ``max_bytes``.

    Raises :class:`KeyFileError` if it is missing or not such a file; if it belongs to another user
    (root is accepted unless the file is ``secret``); if others may write to it; or if it is
    ``secret`` and others may read it. The message names ``what`` was expected, and ``missing`` is
    what to do if there is no file.
    """

    def check(path: Path, status: os.stat_result) -> None:
        if secret and os.name == "posix" and status.st_mode & 0o077:
            raise KeyFileError(f"others may read {path}; run: chmod 600 {path}")
        require_owned_by_us(path, status, or_root=not secret)
        require_not_writable_by_others(path, status)

    try:
        content = read_regular(path, max_bytes, check=check)
    except FileNotFoundError:
        remedy = missing or ("create one or check the path" if secret else "check the path")
        raise KeyFileError(f"no {what} at {path}; {remedy}") from None
    except OSError as error:
        if error.errno in {errno.EFBIG, errno.EINVAL}:
            raise KeyFileError(f"{path} is not a {what}: {error.strerror}: {_RESTORE}") from error
        raise KeyFileError(f"cannot read the {what} {path}: {error.strerror}") from error
    if not content.isascii():
        raise KeyFileError(f"{path} is not a {what}: it has non-ASCII characters: {_RESTORE}")
    return content.decode("ascii")


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _write(path: Path, text: str, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
