"""Who owns the files and folders that are trusted here, and who else may write to them.

A file of mode 0600 keeps others out, but its owner may always change it. So what is trusted must
belong to the user that this process runs as (its effective user id); what is only read may belong
to root too, who can change everything anyway. Where a file is opened, the status of what was opened
is checked, not that of the path: nothing can be exchanged in between. On Windows nothing is
checked.
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
"""Linux follows as many symbolic links in one path."""
_OVERFLOW_UID = Path("/proc/sys/fs/overflowuid")
_UID_MAP = Path("/proc/self/uid_map")
_ALL_IDS = ["0", "0", "4294967295"]


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` and the parents that it lacks, each its owner's alone whatever the umask is.
    One that exists stays as it is.

    Nothing is made in a place where others could exchange it: a program that root runs with another
    user's home folder would lock that user out. Raises :class:`KeyFileError` there, and
    ``OSError``.
    """
    present = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    if present != folder and os.name == "posix":
        _require_way(present, folder)
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

    ``status`` is ``os.fstat`` of the file that was opened at ``path``. Without it the path is
    looked up, and both a symbolic link and what it leads to must be ours: use that only in a folder
    that passed :func:`require_not_writable`. ``or_root`` accepts root's as well, for what is only
    read. A path that does not exist is an error.
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
                f"if its content is to be trusted, run: chown -R {we} {path}"
                f"{' (as root)' if each.st_uid == _ROOT else ''}"
            )


def require_not_writable_by_others(path: Path, status: os.stat_result) -> None:
    """Raise :class:`KeyFileError` where others than its owner may write to the file at ``path``.

    ``status`` is ``os.fstat`` of what was opened. A group with the number of our own user is the
    user's private group, as most Linux systems make it, and may write.
    """
    if os.name == "posix" and _others_may_write(status):
        raise KeyFileError(f"others may write to {path}; run: chmod go-w {path}")


def require_not_writable(folder: Path) -> None:
    """Raise :class:`KeyFileError` where others than we may put files into ``folder``.

    It must be ours, with no right to write for group and others. Every folder and link on the way
    to it must be ours or root's, and not writable by others, unless its sticky bit keeps them from
    exchanging what is not theirs (as in ``/tmp``).
    """
    if os.name != "posix":
        return
    status = _stat(folder)
    if status.st_mode & 0o022:
        raise KeyFileError(f"others may write in {folder}; run: chmod 700 {folder}")
    require_owned_by_us(folder, status)
    _require_way(folder, folder)


def remedy_of(error: OSError, path: Path) -> str:
    """What to do about an error of the system on ``path``, as a part of a message."""
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        we = _name(os.geteuid()) if os.name == "posix" else "your user"
        return f"{we} may not write there; check its permissions, or run: chown -R {we} {path}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space"
    return f"check {path}, or free some space"


def _require_way(present: Path, folder: Path) -> None:
    """Raise :class:`KeyFileError` where others can exchange what is on the way to ``present``, in
    which ``folder`` is or is to be made."""
    unmapped: int | None = None
    for place in _way_to(present):
        status = _lstat(place)
        if status.st_uid not in {os.geteuid(), _ROOT} and unmapped is None:
            unmapped = _unmapped_uid()
        if status.st_uid not in {os.geteuid(), _ROOT, unmapped}:
            raise KeyFileError(
                f"{place} belongs to {_name(status.st_uid)}, who can exchange {folder} in it: "
                f"run this as {_name(status.st_uid)}, or use a folder whose parents belong to you "
                "or to root"
            )
        is_link, is_sticky = stat.S_ISLNK(status.st_mode), bool(status.st_mode & stat.S_ISVTX)
        if not is_link and not is_sticky and _others_may_write(status):
            raise KeyFileError(
                f"others may write in {place}, and so exchange {folder}; run: chmod go-w {place}"
            )


def _others_may_write(status: os.stat_result) -> bool:
    is_private_group = status.st_gid == os.getegid() == os.geteuid()
    return bool(status.st_mode & (0o002 if is_private_group else 0o022))


def _way_to(folder: Path) -> Iterator[Path]:
    """Every folder and symbolic link that is passed on the way to ``folder``, and its own last."""
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
            raise KeyFileError(f"{folder} leads through too many symbolic links")
        target = _target(place)
        ahead = [*target.parts[1 if target.is_absolute() else 0 :], *ahead]
        here = Path(target.anchor) if target.is_absolute() else here


def _unmapped_uid() -> int:
    """The number that stands for owners whom a sandbox's user namespace hides, as root is hidden in
    Flatpak's; root's own outside of such a namespace."""
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
        raise KeyFileError(f"{link} cannot be looked up: check its permissions") from error


def _lstat(path: Path) -> os.stat_result:
    return _looked_up(path, follow=False)


def _stat(path: Path) -> os.stat_result:
    return _looked_up(path, follow=True)


def _looked_up(path: Path, *, follow: bool) -> os.stat_result:
    try:
        return path.stat(follow_symlinks=follow)
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path} cannot be looked up: check its permissions") from error


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
