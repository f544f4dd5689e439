"""One SQLite handle per process, and files that change under an open ledger."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import ChannelClosed, LedgerCorrupt, LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.bounded_files import open_regular
from ugsd_privacy.files.reserved_files import is_reserved
from ugsd_privacy.ledger import Ledger

from tests.doubles.lock_holder import in_another_thread
from tests.privacy.ledger.connected_world import leaves_from_outside, send

# Begins a transaction, prints "locked", and stops itself while it holds the lock.
STOPPED_WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("how", ["ledger", "reading", "none"])
def test_foreign_reader_does_not_delete_the_wal(connected, how: str) -> None:
    """Also if this process opens and closes other connections beside the one that writes."""
    path = connected.ledger.path
    for _ in range(3):
        if how == "ledger":
            Ledger(path.parent).open().close()
        elif how == "reading":
            with connected.ledger.reading() as view:
                assert view.size()
        leaves_from_outside(path)
        assert path.with_name(f"{path.name}-wal").exists(), "SQLite's locks were lost"
        last = send(connected).record
    assert leaves_from_outside(path) == last + 1


def test_one_process_has_one_handle(tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path / "real", target_is_directory=True)
    with Ledger(tmp_path / "real") as first, Ledger(tmp_path / "alias") as second:
        assert first._database is second._database
        first.close()
        assert second.is_in_place()
        with second.reading() as view:
            assert view.size() == 0
    assert not (tmp_path / "real/ledger.sqlite3-wal").exists(), "the last ledger closes the handle"


def test_nothing_but_sqlite_opens_the_database(connected) -> None:
    """SQLite opens files without Python, so it causes no such audit event."""
    opened: list[str] = []
    watching = [True]

    def record_event(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in {"open", "os.link", "os.rename", "os.remove"}:
            # The write-ahead log is read too, but SQLite takes no locks on it.
            opened.extend(
                str(a) for a in arguments[:2] if str(a).endswith(("ledger.sqlite3", "-shm"))
            )

    sys.addaudithook(record_event)
    other = Ledger(connected.ledger.path.parent)
    with other, other.reading() as view:
        assert view.size()
    send(connected)
    connected.ledger.close()
    connected.ledger.open()
    watching.clear()
    assert opened == []


def moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def deleted(path: Path) -> None:
    shutil.rmtree(path.parent)


def replaced_by_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    copy.replace(path)


def without_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def without_shared_memory(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


def linked(path: Path) -> None:
    path.with_name("second-name").hardlink_to(path)


def replaced_by_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


CHANGES = (
    moved,
    deleted,
    replaced_by_copy,
    without_log,
    without_shared_memory,
    linked,
    replaced_by_link,
)


@pytest.mark.parametrize("change", CHANGES)
def test_ledger_changed_in_use_sends_nothing(connected, change: Callable[[Path], None]) -> None:
    change(connected.ledger.path)
    for seal in (send, lambda world: world.sender.seal_cover_frame(world.channel, world.caption)):
        with pytest.raises(LedgerMoved, match=r"while it was in use; nothing was sent"):
            seal(connected)
    assert not connected.ledger.is_in_place()


@pytest.mark.parametrize("change", CHANGES)
def test_change_during_the_commit_sends_nothing(
    connected, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction in progress is charged, but its frame is never sent."""
    record = type(connected.sender)._record

    def changed(self, *values: object, **named: object):
        frame = record(self, *values, **named)
        change(connected.ledger.path)
        return frame

    monkeypatch.setattr(type(connected.sender), "_record", changed)
    with pytest.raises((LedgerMoved, LedgerUnavailable)):
        send(connected)
    with pytest.raises(ChannelClosed):
        connected.channel.seal(b"")


OVERWRITES = {
    "emptied log": ": > ledger.sqlite3-wal",
    "shortened log": "truncate -s 6000 ledger.sqlite3-wal",
    "emptied database": ": > ledger.sqlite3",
    "restored log": "cat ../backup/ledger.sqlite3-wal > ledger.sqlite3-wal",
    "restored database and log": "cp ../backup/ledger.sqlite3 ../backup/ledger.sqlite3-wal .",
    "restored files": "cp ../backup/* .",
}
"""Shell commands in the ledger's folder, which keep every inode. The backup has fewer leaves."""


@pytest.mark.parametrize("overwrite", OVERWRITES)
@pytest.mark.parametrize("generation", ["first", "later", "outlived"])
def test_ledger_overwritten_in_use_sends_nothing(
    tmp_path: Path, new_world: Callable[[Path], object], overwrite: str, generation: str
) -> None:
    world = new_world(tmp_path / "ledger")
    world.ledger = Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor")
    with world.ledger:
        world.sender = world.egress(limits=BudgetLimits.without_caps())
        world.caption = world.connect(world.sender)
        if generation == "later":  # the write-ahead log was restarted since
            send(world)
            world.ledger.truncate_write_ahead_log()
        send(world)
        subprocess.run(["cp", "-a", tmp_path / "ledger", tmp_path / "backup"], check=True)
        for _ in range(5):
            send(world)
        if generation == "outlived":  # the write-ahead log was restarted since the backup
            world.ledger.truncate_write_ahead_log()
            send(world)
        subprocess.run(OVERWRITES[overwrite], shell=True, cwd=tmp_path / "ledger", check=True)
        with pytest.raises((LedgerMoved, LedgerCorrupt)):
            send(world)
        with pytest.raises((LedgerMoved, LedgerCorrupt, ChannelClosed)):
            send(world)


def test_checkpointed_wal_is_followed(connected) -> None:
    """Also if another process restarts it, and if it is truncated on purpose."""
    connected.sender = connected.egress(limits=BudgetLimits.without_caps())
    checkpoint = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(*db.execute("
    checkpoint += "f'PRAGMA wal_checkpoint({sys.argv[2]})'))"
    for kind in ("PASSIVE", "RESTART", "TRUNCATE", "PASSIVE"):
        for _ in range(3):
            send(connected)
        path = str(connected.ledger.path)
        subprocess.run([sys.executable, "-c", checkpoint, path, kind], check=True)
        connected.ledger.truncate_write_ahead_log()
        send(connected)
    assert connected.verified().size == 18


@pytest.mark.parametrize("name", ["ledger.sqlite3", "ledger.sqlite3-shm", "ledger.sqlite3-wal"])
def test_file_reader_refuses_a_ledger_in_use(connected, name: str) -> None:
    """Closing the file would drop SQLite's locks."""
    path = connected.ledger.path.with_name(name)
    with pytest.raises(OSError, match="a ledger that this process has open"):
        open_regular(path)
    connected.ledger.close()
    if path.exists():
        open_regular(path).close()


def test_deleted_shared_memory_is_detected(connected) -> None:
    """SQLite would still use the deleted file that another handle of this process has open."""
    connected.ledger.path.with_name("ledger.sqlite3-shm").unlink()
    with pytest.raises(LedgerMoved, match="shm was deleted"):
        Ledger(connected.ledger.path.parent).open()


def test_anchor_replaced_in_use_sends_nothing(
    tmp_path: Path, new_world: Callable[[Path], object]
) -> None:
    world = new_world(tmp_path / "ledger")
    anchor = tmp_path / "anchor"
    world.ledger = Ledger(tmp_path / "ledger", anchor=anchor)
    with world.ledger:
        world.sender = world.egress()
        world.caption = world.connect(world.sender)
        content = anchor.read_bytes()
        anchor.unlink()
        anchor.write_bytes(content)
        with pytest.raises(LedgerMoved, match="anchor was replaced"):
            send(world)


def test_ledger_with_two_hard_links_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").open().close()
    path = tmp_path / "ledger/ledger.sqlite3"
    (tmp_path / "second").hardlink_to(path)
    with pytest.raises(LedgerUnavailable, match=r"2 hard links.* delete the others"):
        Ledger(tmp_path / "ledger").open()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change owners"
)
@pytest.mark.parametrize(
    "planted",
    [
        "ledger",
        "ledger/ledger.sqlite3",
        "ledger/ledger.sqlite3-wal",
        "ledger/ledger.sqlite3-shm",
        "anchor",
    ],
)
def test_ledger_of_another_user_is_refused(tmp_path: Path, planted: str) -> None:
    """The other user could change it at any time, whatever its mode."""
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        pass
    if planted.endswith(("-wal", "-shm")):
        (tmp_path / planted).touch(mode=0o600)
    os.chown(tmp_path / planted, 12345, 12345)
    with pytest.raises(LedgerUnavailable, match=r"belongs to user id 12345.*chown"):
        Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor").open()


def test_folders_are_private_for_any_umask(tmp_path: Path) -> None:
    old = os.umask(0o002)
    try:
        Ledger(tmp_path / "home/deep/ledger").open().close()
    finally:
        os.umask(old)
    for folder in ("home", "home/deep", "home/deep/ledger"):
        assert (tmp_path / folder).stat().st_mode & 0o077 == 0


def test_replaced_ledger_can_be_reopened(connected) -> None:
    replaced_by_copy(connected.ledger.path)
    with pytest.raises(LedgerMoved):
        send(connected)
    connected.ledger.close()
    connected.ledger.open()
    connected.caption = connected.connect(connected.sender)
    assert send(connected).data
    assert connected.ledger.path.exists()


def test_killed_writer_among_foreign_readers_loses_nothing(tmp_path: Path) -> None:
    program = """
import os, sys
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.channel import ClientChannel
from ugsd_privacy.egress import Egress
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger, handles
from ugsd_privacy.keys.owner import OwnerKey
folder = sys.argv[1]
first = Ledger(folder + "/ledger", anchor=folder + "/anchor").open()
egress = Egress(ledger=first, owner=OwnerKey.generate().public,
                limits=BudgetLimits.without_caps())
key = VerifierKey.generate()
while True:
    print(egress.seal_hello(ClientChannel(key.public)).record, flush=True)
    sys.stdin.readline()
    Ledger(folder + "/ledger", anchor=folder + "/anchor").open().close()  # like a second captioner
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as device:
        assert device.stdin is not None
        assert device.stdout is not None
        for _ in range(13):
            last = int(device.stdout.readline())
            leaves_from_outside(tmp_path / "ledger/ledger.sqlite3")
            device.stdin.write("on\n")
            device.stdin.flush()
        last = max(last, int(device.stdout.readline()))
        device.send_signal(signal.SIGKILL)
    with (
        Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor") as ledger,
        ledger.reading() as view,
    ):
        assert view.size() == last + 1


# -- waiting


@pytest.fixture
def stopped_writer(connected) -> Iterator[None]:
    """Another process that is stopped while it holds the ledger's lock."""
    command = [sys.executable, "-c", STOPPED_WRITER, str(connected.ledger.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        yield
        writer.kill()


CALLS: dict[str, Callable[..., object]] = {
    "block": lambda world, **named: world.sender.seal_block(
        world.channel, world.caption, world.escalation(1), **named
    ),
    "cover": lambda world, **named: world.sender.seal_cover_frame(
        world.channel, world.caption, **named
    ),
    "receipts": lambda world, **named: world.sender.receipts(world.caption, **named),
    "checkpoint": lambda world, **named: world.sender.checkpoint(**named),
}
READS: dict[str, Callable[..., object]] = {
    "usage": lambda world, **named: world.sender.usage(world.caption, **named),
    "remaining": lambda world, **named: world.sender.remaining(world.caption, **named),
    "used": lambda world, **named: world.sender.used(**named),
    "limits": lambda world, **named: world.sender.limits(**named),
}


@pytest.mark.usefixtures("stopped_writer")
@pytest.mark.parametrize("call", CALLS)
def test_stopped_process_costs_only_the_timeout(connected, call: str) -> None:
    connected.ledger._busy_timeout_s = 30.0
    started_s = monotonic()
    with pytest.raises(LedgerUnavailable):
        CALLS[call](connected, timeout_s=0.3)
    assert 0.25 < monotonic() - started_s < 3.0


@pytest.mark.parametrize("call", CALLS | READS)
def test_busy_thread_costs_only_the_timeout(connected, call: str) -> None:
    with in_another_thread(connected.ledger.as_owner()):
        started_s = monotonic()
        with pytest.raises(LedgerUnavailable, match="another thread"):
            (CALLS | READS)[call](connected, timeout_s=0.3)
        assert monotonic() - started_s < 2.0
        connected.ledger.close()
        assert monotonic() - started_s < 4.0, "close() must not wait for the busy thread"


def test_handle_that_nobody_closes_frees_its_files(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger").open()
    status = ledger.path.stat()
    assert is_reserved(status)

    del ledger
    gc.collect()

    assert not is_reserved(status)
