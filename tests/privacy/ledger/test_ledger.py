from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_privacy.egress import CaptionHandle, Egress, SealedFrame
from ugsd_privacy.errors import (
    BudgetExceeded,
    ChannelClosed,
    LedgerCorrupt,
    LedgerError,
    LedgerUnavailable,
    LogTampered,
)
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.channel import ClientChannel

DAY_S = 86_400

# A device in a separate process: it prints the index of each frame that it may send.
DEVICE = """
import os, resource, sys, threading
import numpy as np
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.errors import BudgetExceeded, LedgerUnavailable
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.protocol.messages import Disclosure

directory, cap, num_frames, threads, file_limit, covers = sys.argv[1], *map(int, sys.argv[2:])
states = np.zeros((1, 4), np.float32)
block = Escalation(Disclosure.SUMMARY, 0, (), (1,), (0,), states)
key = VerifierKey.generate()

with Ledger(directory, busy_timeout_s=30) as ledger:
    egress = Egress(
        ledger=ledger,
        owner=OwnerKey.generate().public,
        limits=BudgetLimits.without_caps(blocks_per_day=cap),
        clock=lambda: 2e9,
    )

    def hammer():
        channel, server = ClientChannel(key.public), ServerChannel(key)
        channel.receive_hello(server.receive_hello(egress.seal_hello(channel).data, b""))
        caption = egress.begin_caption(channel)
        for number in range(num_frames):
            try:
                if covers and number % 2:
                    frame = egress.seal_cover_frame(channel, caption)
                else:
                    frame = egress.seal_block(channel, caption, block)
            except BudgetExceeded:
                return
            os.write(1, b"%d\\n" % frame.record)  # in one write, because threads share the pipe

    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        try:
            hammer()
        except LedgerUnavailable:
            print("unavailable", flush=True)
    else:
        pool = [threading.Thread(target=hammer) for _ in range(threads)]
        [thread.start() for thread in pool]
        [thread.join() for thread in pool]
"""


def start_device(
    directory: Path,
    *,
    cap: int,
    num_frames: int = 10_000,
    threads: int = 1,
    file_limit: int = 0,
    covers: bool = False,
) -> subprocess.Popen[str]:
    numbers = map(str, (cap, num_frames, threads, file_limit, int(covers)))
    command = [sys.executable, "-c", DEVICE, str(directory), *numbers]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def records_of(device: subprocess.Popen[str]) -> list[str]:
    with device:
        assert device.stdout is not None
        lines = device.stdout.read().split()
    assert device.returncode == 0
    return lines


def test_ledger_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Ledger(tmp_path / "deep" / "ledger") as ledger:
            with ledger.signing() as log:
                log.add_checkpoint(0, "")
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in ledger.path.parent.iterdir()
            }
            directory_mode = stat.S_IMODE(ledger.path.parent.stat().st_mode)
    finally:
        os.umask(old)
    assert directory_mode == 0o700
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("target", ["directory", "file"])
def test_ledger_accessible_to_others_is_refused(tmp_path: Path, target: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger:
        pass
    path = ledger.path if target == "file" else ledger.path.parent
    path.chmod(0o755)
    with pytest.raises(LedgerUnavailable, match="chmod"):
        ledger.open()


def test_constructor_creates_nothing_and_closed_ledger_is_unavailable(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()
    for use in (ledger.begin_egress(user="", caption=None, now_s=0.0), ledger.reading()):
        with pytest.raises(LedgerUnavailable, match="open"), use:
            pass
    ledger.open().close()
    ledger.close()


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_path_that_cannot_be_a_ledger_is_unavailable(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable):
        Ledger(tmp_path / place).open()


@pytest.mark.parametrize("content", [b"no database" * 200, b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_ledger_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger").mkdir(0o700)
    ledger = Ledger(tmp_path / "ledger")
    ledger.path.write_bytes(content)
    ledger.path.chmod(0o600)
    with pytest.raises(LedgerCorrupt):
        ledger.open()


@pytest.mark.parametrize("content", [None, b""])
def test_lost_ledger_is_not_replaced_by_an_empty(tmp_path: Path, content: bytes | None) -> None:
    ledger = Ledger(tmp_path / "ledger", create=False)
    if content is not None:
        (tmp_path / "ledger").mkdir(mode=0o700)
        ledger.path.write_bytes(content)
    with pytest.raises(LedgerCorrupt, match=r"removed or emptied; restore it"):
        ledger.open()
    assert ledger.path.exists() == (content is not None)
    Ledger(tmp_path / "other").open().close()
    with Ledger(tmp_path / "other", create=False) as found, found.reading() as view:
        assert view.size() == 0


@pytest.mark.parametrize(
    ("pragma", "error"),
    [("user_version = 9", LedgerUnavailable), ("application_id = 9", LedgerCorrupt)],
)
def test_foreign_databases_and_other_formats_are_refused(
    tmp_path: Path, pragma: str, error: type[LedgerError]
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger:
        pass
    db = sqlite3.connect(ledger.path)
    db.execute(f"PRAGMA {pragma}")
    db.close()
    with pytest.raises(error):
        ledger.open()


def test_ledger_of_earlier_blocks_names_its_format(tmp_path: Path) -> None:
    """Format 3 holds records of wire version 1."""
    with Ledger(tmp_path / "ledger") as ledger:
        pass
    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("PRAGMA user_version = 3")
    with pytest.raises(LedgerUnavailable, match=r"format 3, .* use the release that wrote it"):
        ledger.open()


def test_egress_without_a_record_charges_nothing(world) -> None:
    with world.ledger.begin_egress(user="", caption=None, now_s=0.0) as egress:
        assert egress.index == 0

    def fail() -> None:
        with world.ledger.begin_egress(user="", caption=None, now_s=0.0) as egress:
            egress.record(Usage(), content=b"x", sealed=b"y")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with world.ledger.reading() as view:
        assert view.size() == 0


def test_usage_survives_a_restart(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    frame = egress.seal_block(world.channel, caption, world.escalation())
    world.ledger.close()
    world.ledger.open()
    used = Usage(1, 5, 1, len(frame.data), UNBOUNDED_COST)
    assert world.egress().usage(caption) == used
    hello = Usage(frames=1, bytes=2386)
    assert world.egress().used() == dict.fromkeys(("hour", "day", "lifetime"), hello + used)


def test_clock_set_back_gains_nothing(world) -> None:
    egress = world.egress(limits=BudgetLimits(blocks_per_day=2))
    caption = world.connect(egress)
    for _ in range(2):
        egress.seal_block(world.channel, caption, world.escalation())
    for days_back in (1, 10, 20_000):
        world.now_s -= days_back * DAY_S if world.now_s > days_back * DAY_S else 0
        with pytest.raises(BudgetExceeded, match="blocks_per_day"):
            egress.seal_block(world.channel, caption, world.escalation())
    world.ledger.close()
    world.ledger.open()
    with pytest.raises(BudgetExceeded, match="blocks_per_day"):
        egress.seal_block(world.channel, caption, world.escalation())
    world.now_s = 20_001 * DAY_S
    egress.seal_block(world.channel, caption, world.escalation())
    assert world.verified().size == 4


def test_budgets_are_per_user(world) -> None:
    limits = BudgetLimits(blocks_per_day=1)
    for user in ("ada", "bob"):
        egress = world.egress(limits=limits, user=user)
        caption = world.connect(egress)
        egress.seal_block(world.channel, caption, world.escalation())
        with pytest.raises(BudgetExceeded):
            egress.seal_block(world.channel, caption, world.escalation())


def test_locked_ledger_is_unavailable_and_harms_no_channel(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    other = sqlite3.connect(world.ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable):
        egress.seal_block(world.channel, caption, world.escalation())
    other.execute("ROLLBACK")
    other.close()
    frame = egress.seal_block(world.channel, caption, world.escalation())
    assert world.server.open(frame.data)


def test_full_ledger_fails_closed_and_recovers(world) -> None:
    egress = world.egress(limits=BudgetLimits(bytes_per_caption=None, tokens_per_caption=None))
    caption = world.connect(egress)
    world.ledger._database._connection.execute("PRAGMA max_page_count = 1")

    def fill() -> None:
        for _ in range(8):
            egress.seal_block(world.channel, caption, world.escalation(60))

    with pytest.raises(LedgerUnavailable):
        fill()
    with pytest.raises(ChannelClosed):
        world.channel.seal(b"")
    world.ledger.close()
    world.ledger.open()
    size = world.verified().size
    caption = world.connect(egress)
    assert egress.seal_block(world.channel, caption, world.escalation()).record == size + 1


def test_readonly_ledger_is_unavailable_and_charges_nothing(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    world.ledger._database._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable):
        egress.seal_block(world.channel, caption, world.escalation())
    world.ledger._database._connection.execute("PRAGMA query_only = OFF")
    assert egress.usage(caption) == Usage()


class _FailingCommit:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(statement, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def seal_block(egress: Egress, world, caption: CaptionHandle) -> SealedFrame:
    return egress.seal_block(world.channel, caption, world.escalation())


def seal_cover(egress: Egress, world, caption: CaptionHandle) -> SealedFrame:
    return egress.seal_cover_frame(world.channel, caption)


@pytest.mark.parametrize("seal", [seal_block, seal_cover])
def test_failed_commit_sends_nothing_and_closes_the_channel(world, seal) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    database = world.ledger._database
    sound = database._connection
    database._connection = _FailingCommit(sound)
    with pytest.raises(LedgerUnavailable):
        seal(egress, world, caption)
    hello = ClientChannel(world.verifier.public)
    with pytest.raises(LedgerUnavailable):
        egress.seal_hello(hello)
    database._connection = sound
    with pytest.raises(ChannelClosed):
        world.channel.seal(b"")
    with pytest.raises(ChannelClosed):
        hello.receive_hello(b"")
    assert egress.usage(caption) == Usage()
    assert world.verified().size == 1


def test_file_size_limit_fails_closed(tmp_path: Path) -> None:
    lines = records_of(start_device(tmp_path / "ledger", cap=10**6, file_limit=300_000))
    assert lines[-1] == "unavailable"
    with Ledger(tmp_path / "ledger") as ledger:
        assert verify_log(ledger, LogKey.generate().public).size >= len(lines)


def test_processes_and_threads_never_exceed_a_cap(tmp_path: Path) -> None:
    devices = [start_device(tmp_path / "ledger", cap=120, threads=3) for _ in range(2)]
    records = [int(line) for device in devices for line in records_of(device)]
    assert len(set(records)) == len(records) == 120
    with Ledger(tmp_path / "ledger") as ledger:
        summary = verify_log(ledger, LogKey.generate().public)
    assert (summary.size, summary.total.blocks) == (126, 120)


def test_ledger_waits_for_another_that_is_created(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir(mode=0o700)
    (folder / "ledger.sqlite3").touch(0o600)
    creating = sqlite3.connect(
        folder / "ledger.sqlite3", isolation_level=None, check_same_thread=False
    )
    creating.execute("BEGIN IMMEDIATE")
    finish = threading.Timer(0.3, creating.execute, ["COMMIT"])
    finish.start()
    with Ledger(folder) as ledger:
        assert verify_log(ledger, LogKey.generate().public).size == 0
    finish.join()
    creating.close()


def test_threads_share_one_ledger_object(world) -> None:
    egress = world.egress(limits=BudgetLimits(blocks_per_day=30, blocks_per_caption=None))

    def hammer(_: int) -> int:
        channel, done = ClientChannel(world.verifier.public), 0
        egress.seal_hello(channel)
        for _ in range(10):
            try:
                with world.ledger.begin_egress(user="", caption=None, now_s=world.now_s) as used:
                    assert used.before["day"].blocks == 0
                done += 1
                egress.used()
            except LedgerError:
                return -1
        return done

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(hammer, range(6))) == [10] * 6
    assert world.verified().size == 6


@pytest.mark.parametrize("frames", [1, 2, 20, 45])
def test_log_of_killed_device_verifies(tmp_path: Path, frames: int) -> None:
    device = start_device(tmp_path / "ledger", cap=10**6, covers=True)
    assert device.stdout is not None
    sent = [int(device.stdout.readline()) for _ in range(frames)]
    device.send_signal(signal.SIGKILL)
    with device:
        sent += [int(line) for line in device.stdout.read().split()]
    with Ledger(tmp_path / "ledger") as ledger, ledger.reading() as view:
        leaves, charges, _ = view.count()
        summary = verify_log(ledger, LogKey.generate().public)
    assert leaves == charges == summary.size
    assert summary.size > max(sent)


def test_leaves_without_charges_stop_egress(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    db = sqlite3.connect(world.ledger.path)
    db.execute("DELETE FROM charges")
    db.commit()
    db.close()
    with pytest.raises(LedgerCorrupt):
        egress.seal_block(world.channel, caption, world.escalation())


def test_damage_anywhere_in_the_file_is_detected(
    tmp_path: Path, new_world: Callable[[Path], object]
) -> None:
    world = new_world(tmp_path / "ledger")
    with world.ledger:
        egress = world.egress()
        caption = world.connect(egress)
        for _ in range(8):
            egress.seal_block(world.channel, caption, world.escalation())
        egress.receipts(caption)
    sound = world.ledger.path.read_bytes()
    choose, detected = random.Random(1), 0
    for _ in range(60):
        damaged = bytearray(sound)
        for _ in range(choose.choice((1, 1, 64))):
            damaged[choose.randrange(len(damaged))] ^= 1 << choose.randrange(8)
        world.ledger.path.write_bytes(damaged)
        try:
            with world.ledger:
                world.verified()
        except (LedgerError, LogTampered):
            detected += 1
        finally:
            world.ledger.close()
    assert detected > 20


def test_each_record_names_the_verifier_key(world, verifier_key: VerifierKey) -> None:
    world.connect(world.egress())
    assert world.record(0).verifier == verifier_key.public.fingerprint


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SQLITE_READONLY", "read-only file or file system: allow writing, or use another home"),
        ("SQLITE_BUSY", "another process has locked it: end that process, or try again"),
        ("SQLITE_LOCKED", "another process has locked it"),
        ("SQLITE_FULL", "the disk is full: free some space"),
        ("SQLITE_CANTOPEN", "it did not open: allow writing in its folder, or use"),
        ("SQLITE_IOERR", "SQLite reports SQLITE_IOERR: check the disk"),
    ],
)
def test_unusable_ledger_names_cause_and_remedy(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("refused")
        error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
        raise error

    monkeypatch.setattr("ugsd_privacy.ledger.store.open_database", refuse)
    ledger = Ledger(tmp_path, create=True)
    with pytest.raises(LedgerUnavailable) as raised:
        ledger.open()
    assert str(raised.value).startswith(f"{ledger.path} cannot be used: {message}")
