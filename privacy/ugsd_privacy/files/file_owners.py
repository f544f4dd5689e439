"""Checks who owns trusted files and folders, and who else may write to them.

A file of mode 0600 keeps others out, but its owner may always change it. So trusted files must
belong to the user that this process runs as (its effective user id); files that are only read may
belong to root too, who can change everything anyway. The status of the opened file is checked, not
that of the path, so that nobody can replace the file in between. On Windows nothing is checked.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ugsd_privacy.errors import KeyFileError

try:
    import pwd
except ImportError:  # Windows
    pwd = None  # type: ignore[assignment]

__all__ = [
    "make_private_folder",
    "remedy_of",
    "require_not_writable",
    "require_not_writable_by_others",
    "require_owned_by_us",
]

_ROOT = 0
_MAX_LINKS = 40
"""The limit of Linux for symbolic links in one path."""
_OVERFLOW_UID = Path("/proc/sys/fs/overflowuid")
_UID_MAP = Path("/proc/self/uid_map")
_ALL_IDS = ["0", "0", "4294967295"]


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents with mode 0700, whatever the umask is. Folders that
    exist are unchanged.

    Nothing is created where others could replace it: a program that root runs with another user's
    home folder would lock that user out. Raises :class:`KeyFileError` in that case, or ``OSError``.
    """
    present = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    if present != folder and os.name == "posix":
        _require_safe_path(present, folder)
    missing = []
    for place in (folder, *folder.parents):
        if place.is_dir():
            break
        missing.append(place)
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def require_owned_by_us(
    path: Path, status: os.stat_result | None = None, *, or_root: bool = False
) -> None:
    """Raise :class:`KeyFileError` unless ``path`` belongs to the user that this process runs as.

    ``status`` is ``os.fstat`` of the file opened at ``path``. Without it the path is looked up, and
    both a symbolic link and its target must belong to that user: do this only in a folder that
    passed :func:`require_not_writable`. ``or_root`` also accepts root as the owner, for files that
    are only read. A path that does not exist is an error.
    """
    if os.name != "posix":
        return
    statuses = [status] if status is not None else [_lstat(path), _stat(path)]
    for each in statuses:
        if each.st_uid != os.geteuid() and not (or_root and each.st_uid == _ROOT):
            owner, we = _name(each.st_uid), _name(os.geteuid())
            as_owner = "" if each.st_uid == _ROOT else f"run it as {owner}, or, "
            raise KeyFileError(
                f"{path} belongs to {owner}, and this program runs as {we}: {as_owner}"
                f"if you trust its content, run: chown -R {os.geteuid()} {path}"
                f"{' (as root)' if each.st_uid == _ROOT else ''}"
            )


def require_not_writable_by_others(path: Path, status: os.stat_result) -> None:
    """Raise :class:`KeyFileError` if others than its owner may write to the file at ``path``.

    ``status`` is ``os.fstat`` of the opened file. A group with the same id as our user is the
    user's private group, as on most Linux systems, and may write.
    """
    if os.name == "posix" and _others_may_write(status):
        raise KeyFileError(f"others may write to {path}; run: chmod go-w {path}")


def require_not_writable(folder: Path) -> None:
    """Raise :class:`KeyFileError` if other users may put files into ``folder``.

    It must belong to our user and not be writable by group and others. Every folder and link on its
    path must belong to us or to root and not be writable by others, unless its sticky bit keeps
    them from replacing files that are not theirs (as in ``/tmp``).
    """
    if os.name != "posix":
        return
    status = _stat(folder)
    if status.st_mode & 0o022:
        raise KeyFileError(f"others may write in {folder}; run: chmod 700 {folder}")
    require_owned_by_us(folder, status)
    _require_safe_path(folder, folder)


def remedy_of(error: OSError, path: Path) -> str:
    """Return what to do about an ``error`` at ``path``, as the end of a message."""
    if error.errno == errno.EROFS:
        return "use another folder, or remount the file system to be written"
    if error.errno in {errno.EACCES, errno.EPERM}:
        if os.name != "posix":
            return "your user may not write there; check its permissions"
        return (
            f"{_name(os.geteuid())} may not write there; check its permissions, or run: "
            f"chown -R {os.geteuid()} {path}"
        )
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return f"create the folder {path}, or correct the path"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space"
    return f"check {path}, or free some space"


def _require_safe_path(present: Path, folder: Path) -> None:
    """Raise :class:`KeyFileError` if others can replace a folder on the path to ``present``, in
    which ``folder`` is or will be created."""
    unmapped: int | None = None
    for place in _path_steps(present):
        status = _lstat(place)
        if status.st_uid not in {os.geteuid(), _ROOT} and unmapped is None:
            unmapped = _unmapped_uid()
        if status.st_uid not in {os.geteuid(), _ROOT, unmapped}:
            raise KeyFileError(
                f"{place} belongs to {_name(status.st_uid)}, who can replace {folder} in it: "
                f"run this as {_name(status.st_uid)}, or use a folder whose parents belong to you "
                "or to root"
            )
        is_link, is_sticky = stat.S_ISLNK(status.st_mode), bool(status.st_mode & stat.S_ISVTX)
        if not is_link and not is_sticky and _others_may_write(status):
            raise KeyFileError(
                f"others may write in {place}, and so replace {folder}; run: chmod go-w {place}"
            )


def _others_may_write(status: os.stat_result) -> bool:
    is_private_group = status.st_gid == os.getegid() == os.geteuid()
    return bool(status.st_mode & (0o002 if is_private_group else 0o022))


def _path_steps(folder: Path) -> Iterator[Path]:
    """Yield every folder and symbolic link on the path to ``folder``, and ``folder`` last."""
    whole = folder.absolute()
    here, ahead = Path(whole.anchor), [*whole.parts[1:]]
    links = 0
    yield here
    while ahead:
        part = ahead.pop(0)
        if part == os.pardir:
            here = here.parent
            continue
        place = here / part
        yield place
        if not place.is_symlink():
            here = place
            continue
        links += 1
        if links > _MAX_LINKS:
            raise KeyFileError(f"the path of {folder} has too many symbolic links")
        target = _target(place)
        ahead = [*target.parts[1 if target.is_absolute() else 0 :], *ahead]
        here = Path(target.anchor) if target.is_absolute() else here


def _unmapped_uid() -> int:
    """Return the id that stands for owners hidden by a sandbox's user namespace, as Flatpak hides
    root; return root's id outside of such a namespace."""
    try:
        if _UID_MAP.read_text("ascii").split() == _ALL_IDS:
            return _ROOT
        return int(_OVERFLOW_UID.read_text("ascii"))
    except (OSError, ValueError):
        return _ROOT


def _target(link: Path) -> Path:
    try:
        return link.readlink()
    except OSError as error:
        raise KeyFileError(f"cannot look up {link}: check its permissions") from error


def _lstat(path: Path) -> os.stat_result:
    return _look_up(path, follow=False)


def _stat(path: Path) -> os.stat_result:
    return _look_up(path, follow=True)


def _look_up(path: Path, *, follow: bool) -> os.stat_result:
    try:
        return path.stat(follow_symlinks=follow)
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot look up {path}: check its permissions") from error


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
