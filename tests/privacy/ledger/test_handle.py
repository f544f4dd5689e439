"""The files under an open ledger: one handle per process, recognised before each frame."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import ChannelClosed, LedgerCorrupt, LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.bounded_files import open_regular
from ugsd_privacy.ledger import Ledger, handles

from tests.doubles.forked import in_child
from tests.doubles.lock_holder import in_another_thread

# Reads a ledger as another program would: it opens the file, and is the last to close it if it may.
FOREIGN_READER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM leaves").fetchone()
db.close()
"""

# Begins a transaction, says so, and stops itself while it holds the lock.
STOPPED_WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def begun(world):
    """A world with a session, a caption and one block sent."""
    world.door = world.egress()
    world.caption = world.connect(world.door)
    world.server.open(send(world).data)
    return world


def send(world):
    """Seal one block; return its frame."""
    return world.door.seal_block(world.channel, world.caption, world.escalation(1))


def read_from_outside(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FOREIGN_READER, str(path)], check=True)


def leaves_from_outside(path: Path) -> int:
    """How many leaves another process finds at ``path``."""
    program = FOREIGN_READER.replace("db.execute(", "print(*db.execute(").replace(
        ".fetchone()", ".fetchone())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.parametrize("how", ["ledger", "reading", "none"])
def test_foreign_readers_never_delete_the_log(begun, how: str) -> None:
    """Whatever this process opens and closes beside the one that writes."""
    path = begun.ledger.path
    for _ in range(3):
        if how == "ledger":
            Ledger(path.parent).open().close()
        elif how == "reading":
            with begun.ledger.reading() as view:
                assert view.size()
        read_from_outside(path)
        assert path.with_name(f"{path.name}-wal").exists(), "its locks were gone"
        last = send(begun).record
    assert leaves_from_outside(path) == last + 1


def test_one_process_has_one_handle(tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path / "real", target_is_directory=True)
    with Ledger(tmp_path / "real") as first, Ledger(tmp_path / "alias") as second:
        assert first._database is second._database
        first.close()
        assert second.is_in_place()
        with second.reading() as view:
            assert view.size() == 0
    assert not (tmp_path / "real/ledger.sqlite3-wal").exists(), "the last one closes"


def test_nothing_opens_the_file_beside_sqlite(begun) -> None:
    """SQLite opens files without Python's help, so every such event is somebody else's."""
    opened: list[str] = []
    watching = [True]

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in {"open", "os.link", "os.rename", "os.remove"}:
            # SQLite takes no locks on the write-ahead log, which is read to see what is in it.
            opened.extend(
                str(a) for a in arguments[:2] if str(a).endswith(("ledger.sqlite3", "-shm"))
            )

    sys.addaudithook(hear)
    other = Ledger(begun.ledger.path.parent)
    with other, other.reading() as view:
        assert view.size()
    send(begun)
    begun.ledger.close()
    begun.ledger.open()
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
def test_a_ledger_changed_in_use_sends_nothing(begun, change: Callable[[Path], None]) -> None:
    change(begun.ledger.path)
    for seal in (send, lambda world: world.door.seal_cover_frame(world.channel, world.caption)):
        with pytest.raises(LedgerMoved, match=r"while it was in use; nothing was sent"):
            seal(begun)
    assert not begun.ledger.is_in_place()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_during_the_commit_sends_nothing(
    begun, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction that was on its way is charged, its frame never leaves."""
    record = type(begun.door)._record

    def changed(self, *values: object, **named: object):
        made = record(self, *values, **named)
        change(begun.ledger.path)
        return made

    monkeypatch.setattr(type(begun.door), "_record", changed)
    with pytest.raises((LedgerMoved, LedgerUnavailable)):
        send(begun)
    with pytest.raises(ChannelClosed):
        begun.channel.seal(b"")


OVERWRITES = {
    "emptied log": ": > ledger.sqlite3-wal",
    "shortened log": "truncate -s 6000 ledger.sqlite3-wal",
    "emptied database": ": > ledger.sqlite3",
    "restored log": "cat ../backup/ledger.sqlite3-wal > ledger.sqlite3-wal",
    "restored database and log": "cp ../backup/ledger.sqlite3 ../backup/ledger.sqlite3-wal .",
    "restored files": "cp ../backup/* .",
}
"""By a shell in the ledger's folder: every file keeps its inode. The backup has fewer leaves."""


@pytest.mark.parametrize("overwrite", OVERWRITES)
@pytest.mark.parametrize("generation", ["first", "later", "outlived"])
def test_a_ledger_overwritten_in_use_sends_nothing(
    tmp_path: Path, new_world: Callable[[Path], object], overwrite: str, generation: str
) -> None:
    world = new_world(tmp_path / "ledger")
    world.ledger = Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor")
    with world.ledger:
        world.door = world.egress(limits=BudgetLimits.without_caps())
        world.caption = world.connect(world.door)
        if generation == "later":  # the log was begun again since
            send(world)
            world.ledger.truncate_write_ahead_log()
        send(world)
        subprocess.run(["cp", "-a", tmp_path / "ledger", tmp_path / "backup"], check=True)
        for _ in range(5):
            send(world)
        if generation == "outlived":  # since the backup was made
            world.ledger.truncate_write_ahead_log()
            send(world)
        subprocess.run(OVERWRITES[overwrite], shell=True, cwd=tmp_path / "ledger", check=True)
        with pytest.raises((LedgerMoved, LedgerCorrupt)):
            send(world)
        with pytest.raises((LedgerMoved, LedgerCorrupt, ChannelClosed)):
            send(world)


def test_a_checkpointed_log_is_followed(begun) -> None:
    """Also where another process begins it again, and where it is emptied on purpose."""
    begun.door = begun.egress(limits=BudgetLimits.without_caps())
    checkpoint = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(*db.execute("
    checkpoint += "f'PRAGMA wal_checkpoint({sys.argv[2]})'))"
    for kind in ("PASSIVE", "RESTART", "TRUNCATE", "PASSIVE"):
        for _ in range(3):
            send(begun)
        path = str(begun.ledger.path)
        subprocess.run([sys.executable, "-c", checkpoint, path, kind], check=True)
        begun.ledger.truncate_write_ahead_log()
        send(begun)
    assert begun.verified().size == 18


@pytest.mark.parametrize("name", ["ledger.sqlite3", "ledger.sqlite3-shm", "ledger.sqlite3-wal"])
def test_no_reader_of_files_opens_a_ledger_in_use(begun, name: str) -> None:
    """Closing it would drop SQLite's locks."""
    path = begun.ledger.path.with_name(name)
    with pytest.raises(OSError, match="a ledger that this process is using"):
        open_regular(path)
    begun.ledger.close()
    if path.exists():
        open_regular(path).close()


def test_a_deleted_shared_memory_is_not_worked_around(begun) -> None:
    """SQLite would go on with the one that another handle of this process has."""
    begun.ledger.path.with_name("ledger.sqlite3-shm").unlink()
    with pytest.raises(LedgerMoved, match="shm was deleted"):
        Ledger(begun.ledger.path.parent).open()


def test_an_anchor_replaced_in_use_sends_nothing(
    tmp_path: Path, new_world: Callable[[Path], object]
) -> None:
    world = new_world(tmp_path / "ledger")
    anchor = tmp_path / "anchor"
    world.ledger = Ledger(tmp_path / "ledger", anchor=anchor)
    with world.ledger:
        world.door = world.egress()
        world.caption = world.connect(world.door)
        content = anchor.read_bytes()
        anchor.unlink()
        anchor.write_bytes(content)
        with pytest.raises(LedgerMoved, match="anchor was replaced"):
            send(world)


def test_a_ledger_with_two_names_is_not_opened(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").open().close()
    path = tmp_path / "ledger/ledger.sqlite3"
    (tmp_path / "second").hardlink_to(path)
    with pytest.raises(LedgerUnavailable, match=r"2 hard links.* delete the others"):
        Ledger(tmp_path / "ledger").open()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
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
def test_a_ledger_of_another_user_is_refused(tmp_path: Path, planted: str) -> None:
    """Its owner may change it at any time, whatever its mode."""
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        pass
    if planted.endswith(("-wal", "-shm")):
        (tmp_path / planted).touch(mode=0o600)
    os.chown(tmp_path / planted, 12345, 12345)
    with pytest.raises(LedgerUnavailable, match=r"belongs to user id 12345.*chown"):
        Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor").open()


def test_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o002)
    try:
        Ledger(tmp_path / "home/deep/ledger").open().close()
    finally:
        os.umask(old)
    for folder in ("home", "home/deep", "home/deep/ledger"):
        assert (tmp_path / folder).stat().st_mode & 0o077 == 0


def test_a_moved_ledger_is_opened_again_by_path(begun) -> None:
    replaced_by_copy(begun.ledger.path)
    with pytest.raises(LedgerMoved):
        send(begun)
    begun.ledger.close()
    begun.ledger.open()
    begun.caption = begun.connect(begun.door)
    assert send(begun).data
    assert begun.ledger.path.exists()


# -- waiting


@pytest.fixture
def stopped_writer(begun) -> Iterator[None]:
    """Another process that was stopped while it held the ledger."""
    command = [sys.executable, "-c", STOPPED_WRITER, str(begun.ledger.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        yield
        writer.kill()


CALLS: dict[str, Callable[..., object]] = {
    "block": lambda world, **named: world.door.seal_block(
        world.channel, world.caption, world.escalation(1), **named
    ),
    "cover": lambda world, **named: world.door.seal_cover_frame(
        world.channel, world.caption, **named
    ),
    "receipts": lambda world, **named: world.door.receipts(world.caption, **named),
    "checkpoint": lambda world, **named: world.door.checkpoint(**named),
}
READS: dict[str, Callable[..., object]] = {
    "usage": lambda world, **named: world.door.usage(world.caption, **named),
    "remaining": lambda world, **named: world.door.remaining(world.caption, **named),
    "used": lambda world, **named: world.door.used(**named),
    "limits": lambda world, **named: world.door.limits(**named),
}


@pytest.mark.usefixtures("stopped_writer")
@pytest.mark.parametrize("call", CALLS)
def test_a_stopped_process_costs_only_the_timeout(begun, call: str) -> None:
    begun.ledger._busy_timeout_s = 30.0
    started_s = monotonic()
    with pytest.raises(LedgerUnavailable):
        CALLS[call](begun, timeout_s=0.3)
    assert 0.25 < monotonic() - started_s < 1.0


@pytest.mark.parametrize("call", CALLS | READS)
def test_a_busy_thread_costs_only_the_timeout(begun, call: str) -> None:
    with in_another_thread(begun.ledger.as_owner()):
        started_s = monotonic()
        with pytest.raises(LedgerUnavailable, match="another thread"):
            (CALLS | READS)[call](begun, timeout_s=0.3)
        assert monotonic() - started_s < 1.0
        begun.ledger.close()
        assert monotonic() - started_s < 3.0, "closing waits for nobody"


# -- forking


FORKS, FORK_TIMEOUT_S, NOISE_S = 5, 0.5, 2.0
"""A fork waits for readers and transactions of other threads for half a second at most."""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@forks
def test_a_forked_child_writes_by_its_own_handle(begun) -> None:
    def child() -> int:
        begun.caption = begun.connect(begun.door)
        return send(begun).record

    before = send(begun).record
    assert in_child(child)() == before + 2, "a hello and a block"
    read_from_outside(begun.ledger.path)
    assert send(begun).record == before + 3
    assert begun.verified().size == before + 4


@forks
def test_threads_that_fork_at_once_keep_no_lock(begun) -> None:
    ends_s = monotonic() + 3
    begun.ledger._busy_timeout_s = 30.0  # three threads fork, each for half a second at most
    failed: list[str] = []

    def fork() -> None:
        while monotonic() < ends_s and not failed:
            said = in_child(lambda: "alive")()
            if said != "alive":
                failed.append(said)

    threads = [threading.Thread(target=fork) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with begun.ledger.as_owner():
            pass
    for thread in threads:
        thread.join()
    assert failed == []
    with Ledger(begun.ledger.path.parent) as other, other.reading() as view:
        assert view.size()


@forks
@pytest.mark.usefixtures("begun")
def test_forks_of_two_threads_take_turns() -> None:
    registry = handles._REGISTRY
    registry._before_fork()
    second = threading.Thread(target=registry._before_fork)
    second.start()
    second.join(1.5)  # longer than a fork waits for a lock
    assert second.is_alive(), "what the first one has paused is forgotten"
    registry._after_fork()
    second.join(10)
    assert not second.is_alive()
    registry._after_fork()


@forks
def test_no_sqlite_connection_survives_into_a_child(begun) -> None:
    with Ledger(begun.ledger.path.parent).open() as other:
        assert other._database._connection is not None
        state = in_child(
            lambda: [begun.ledger._database._connection is None, other.is_in_place()]
        )()
    assert state == [True, True]


@forks
def test_a_child_forked_in_mid_transaction_is_refused(begun) -> None:
    def child() -> str:
        said = []
        for use in (begun.door.used, Ledger(begun.ledger.path.parent).open):
            try:
                use()
            except LedgerUnavailable as error:
                said.append(str(error))
        begun.ledger.close()
        return str(said)

    with in_another_thread(begun.ledger.as_owner()):
        said = in_child(child)()
    assert said.count("forked while its parent was writing the ledger") == 2
    read_from_outside(begun.ledger.path)
    last = send(begun).record
    assert leaves_from_outside(begun.ledger.path) == last + 1


@forks
def test_a_child_that_exits_leaves_the_log_alone(begun) -> None:
    """An inherited connection that was closed at exit would delete the parent's log."""
    program = f"""
import os, sys
from ugsd_privacy.ledger import Ledger, handles
ledger = Ledger({str(begun.ledger.path.parent)!r}).open()
with ledger.reading() as view:  # a fork in mid-reading, which no pause can end
    if not os.fork():
        sys.exit()
    os.wait()
assert os.path.exists(str(ledger.path) + "-wal")
"""
    begun.ledger.close()
    subprocess.run([sys.executable, "-c", program], check=True)


@forks
def test_a_child_seals_nothing_on_its_parents_session(begun) -> None:
    said = in_child(lambda: send(begun).record)()
    assert said.startswith("ChannelClosed: this session belongs to the process")
    assert begun.server.open(send(begun).data), "the parent's goes on"


@forks
def test_readers_and_forks_wait_for_a_bounded_time(begun) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with begun.ledger.reading() as view:
                view.size()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    started_s = monotonic()
    try:
        for _ in range(FORKS):
            assert in_child(lambda: "alive")() == "alive"
            send(begun)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert monotonic() - started_s < FORKS * FORK_TIMEOUT_S + NOISE_S


def test_a_killed_writer_between_foreign_reads_loses_nothing(tmp_path: Path) -> None:
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
    Ledger(folder + "/ledger", anchor=folder + "/anchor").open().close()  # a second captioner
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
            read_from_outside(tmp_path / "ledger/ledger.sqlite3")
            device.stdin.write("on\n")
            device.stdin.flush()
        last = max(last, int(device.stdout.readline()))
        device.send_signal(signal.SIGKILL)
    with (
        Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor") as ledger,
        ledger.reading() as view,
    ):
        assert view.size() == last + 1
