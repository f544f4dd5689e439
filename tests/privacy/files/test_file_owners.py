import errno
import os
import stat
from pathlib import Path

import pytest
from ugsd_privacy.errors import KeyFileError, ManifestRejected
from ugsd_privacy.files import file_owners
from ugsd_privacy.files.file_owners import (
    make_private_folder,
    remedy_of,
    require_not_writable,
    require_owned_by_us,
)
from ugsd_privacy.keys.log import LogKey, LogPublicKey
from ugsd_privacy.keys.manifest import read_manifest_file
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.keys.root import RootKey, RootPin
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files to other users"
)

_STRANGER = 12345


@pytest.mark.parametrize("kind", [LogKey, VerifierKey, OwnerKey, RootKey])
def test_secret_key_of_another_user_is_refused(
    tmp_path: Path, kind: type[LogKey] | type[VerifierKey] | type[OwnerKey] | type[RootKey]
) -> None:
    path = tmp_path / "planted.key"
    kind.generate().save(path)
    os.chown(path, _STRANGER, _STRANGER)

    with pytest.raises(KeyFileError, match=r"belongs to user id 12345.*run: chown"):
        kind.load(path)


def test_public_files_of_another_user_are_refused(tmp_path: Path) -> None:
    owner, verifier, log, pin, manifest = (tmp_path / name for name in "ovlpm")
    OwnerKey.generate().public.save(owner)
    verifier.write_text(VerifierKey.generate().public.to_text())
    log.write_text(LogKey.generate().public.to_text())
    pin.write_text(RootKey.generate().public.pin.to_text())
    manifest.write_text("ugsd-manifest1:")
    for path in (owner, verifier, log, pin, manifest):
        os.chown(path, _STRANGER, _STRANGER)

    for load, path in (
        (OwnerPublicKey.load, owner),
        (VerifierPublicKey.load, verifier),
        (LogPublicKey.load, log),
        (RootPin.load, pin),
    ):
        with pytest.raises(KeyFileError, match="belongs to user id 12345"):
            load(path)
    with pytest.raises(ManifestRejected, match="belongs to user id 12345"):
        read_manifest_file(manifest)


def test_public_key_writable_by_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verifier.pub"
    path.write_text(VerifierKey.generate().public.to_text())
    path.chmod(0o666)

    with pytest.raises(KeyFileError, match=r"others may write to .*run: chmod go-w"):
        VerifierPublicKey.load(path)


def test_link_target_must_belong_to_us(tmp_path: Path) -> None:
    target, link = tmp_path / "theirs", tmp_path / "log.key"
    LogKey.generate().save(target)
    os.chown(target, _STRANGER, _STRANGER)
    link.symlink_to(target)

    with pytest.raises(KeyFileError, match="belongs to user id 12345"):
        LogKey.load(link)
    with pytest.raises(KeyFileError, match="belongs to user id 12345"):
        require_owned_by_us(link)


def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    require_not_writable(folder)
    os.chown(folder, _STRANGER, _STRANGER)

    with pytest.raises(KeyFileError, match="belongs to user id 12345"):
        require_not_writable(folder)


def test_folder_inside_another_users_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "home"
    folder.mkdir(mode=0o700, parents=True)
    os.chown(folder.parent, _STRANGER, _STRANGER)

    with pytest.raises(KeyFileError, match=r"theirs belongs to user id 12345, who can replace"):
        require_not_writable(folder)


def test_another_users_link_to_our_folder_is_refused(tmp_path: Path) -> None:
    folder, link = tmp_path / "ours", tmp_path / "home"
    folder.mkdir(mode=0o700)
    link.symlink_to(folder)
    require_not_writable(link)
    os.chown(link, _STRANGER, _STRANGER, follow_symlinks=False)

    with pytest.raises(KeyFileError, match="belongs to user id 12345"):
        require_not_writable(link)
    with pytest.raises(KeyFileError, match="belongs to user id 12345"):
        require_not_writable(link / ".." / "home" / ".")


def test_folder_inside_writable_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open" / "home"
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o777)

    with pytest.raises(KeyFileError, match=r"others may write in .*open, and so replace"):
        require_not_writable(folder)
    folder.parent.chmod(0o1777)
    require_not_writable(folder)


def test_cyclic_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(KeyFileError, match="cannot look up"):
        require_not_writable(tmp_path / "a" / "home")


def test_id_maps_are_read_only_for_foreign_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(file_owners, "_unmapped_uid", lambda: read.append(1) or 4321)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    file_owners.require_not_writable(folder)
    assert read == []
    look_up = file_owners._lstat

    def foreign(path: Path) -> os.stat_result:
        found = list(look_up(path))
        found[stat.ST_UID] = 4321
        return os.stat_result(found)

    monkeypatch.setattr(file_owners, "_lstat", foreign)
    file_owners.require_not_writable(folder)
    assert read == [1]


@pytest.mark.parametrize("depth", [("home",), ("home", "habits"), ("home", "a", "b")])
def test_nothing_is_created_in_another_users_folder(tmp_path: Path, depth: tuple[str, ...]) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, _STRANGER, _STRANGER)
    with pytest.raises(KeyFileError, match="run this as user id 12345"):
        make_private_folder(theirs.joinpath(*depth))
    assert not list(theirs.iterdir())
    theirs.joinpath("old").mkdir()
    make_private_folder(theirs / "old")  # an existing folder is unchanged


def test_nothing_is_created_where_others_may_write(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(KeyFileError, match="run: chmod go-w"):
        make_private_folder(shared / "home")
    assert not list(shared.iterdir())
    shared.chmod(0o1777)
    make_private_folder(shared / "home")


def test_no_message_tells_users_to_become_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: _STRANGER)
    with pytest.raises(KeyFileError, match=r"run: chown -R 12345 .*\(as root\)") as raised:
        require_owned_by_us(tmp_path)
    assert "run it as root" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.EACCES, "chown -R"),
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "use another folder, or remount"),
        (errno.ENOENT, "create the folder"),
    ],
)
def test_remedy_matches_its_error(tmp_path: Path, number: int, what: str) -> None:
    assert what in remedy_of(OSError(number, "no"), tmp_path)
    assert ("space" in what) == ("space" in remedy_of(OSError(number, "no"), tmp_path))
