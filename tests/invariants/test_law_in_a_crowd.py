"""Law 1 under concurrency: several captioners in one process, commands in that process, other
programs that come and go, forks, kills, and homes that are moved or replaced while in use."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

import pytest
from ugsd_privacy.audit.bodies import BodyReader, Epoch
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Ledger, LedgerRow, LedgerView
from ugsd_privacy.protocol.channel import HELLO_BYTES

from tests.doubles.recording_proxy import BINARY, RecordingProxy

FRAMES, EPISODES = 600, 6
"""Each is written to the disk before it is sent, which is slow on some."""
ROOT = str(Path(__file__).parents[2])
DEVICE = Path(__file__).with_name("crowded_device.py")
READER = Path(__file__).with_name("foreign_reader.py")
COMMANDS = (
    ["audit", "show", "--json"],
    ["audit", "verify"],
    ["budget", "show", "--user", "ada"],
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@dataclass
class Log:
    """What was read of one home's log so far."""

    records: dict[bytes, int] = field(default_factory=dict)
    """Leaf by the SHA-256 of its frame."""
    read: int = 0
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """Their secrets, so that each is unsealed once."""

    def update(self, home: Path) -> None:
        """Read what was committed since, through a new connection."""
        path = home / "ledger/ledger.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as db:
            rows = db.execute(
                "SELECT leaf, content, sealed, user, hour, caption, recording, blocks, tokens,"
                " frames, bytes, spend FROM leaves JOIN charges USING (leaf) WHERE leaf >= ?"
                " ORDER BY leaf",
                (self.read,),
            )
            found = list(map(LedgerRow._make, rows))
            reader = BodyReader(LedgerView(db), OwnerKey.load(home / "owner.key"))
            reader._epochs = self.epochs
            for row in found:
                record = reader.record(row)
                assert isinstance(record, EgressRecord)
                if record.frame_bytes:
                    assert row.bytes == record.frame_bytes
                    self.records[record.frame_sha256] = row.leaf
                self.read = row.leaf + 1


class Logs:
    """Looks each frame up in the log at the home's path and in those that were moved.

    A frame counts as logged by a moved home only if its leaf existed when the home was moved: what
    was written there later is in no log.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = Lock()
        self._logs: dict[tuple[int, int], Log] = {}
        self._moved: dict[Path, int] = {}
        self.unlogged = 0
        self.seen: Counter[str] = Counter()

    def __call__(self, payload: bytes) -> EgressRecord | None:
        digest = hashlib.sha256(payload).digest()
        with self._lock:
            if self._is_at(self.home, digest):
                self.seen["current"] += 1
            elif any(self._is_at(home, digest, size) for home, size in self._moved.items()):
                self.seen["moved"] += 1
            else:
                self.unlogged += 1
        return None

    @contextmanager
    def moving(self, moved_to: Path) -> Iterator[None]:
        """Hold back all frames while the home is moved to ``moved_to``."""
        with self._lock:
            yield
            self._moved[moved_to] = self._update(moved_to).read

    @contextmanager
    def moving_back(self) -> Iterator[None]:
        """Hold back all frames while the home is moved back."""
        with self._lock:
            yield

    def _is_at(self, home: Path, digest: bytes, size: int | None = None) -> bool:
        try:
            leaf = self._update(home).records.get(digest)
        except (sqlite3.Error, OSError):
            return False
        return leaf is not None and (size is None or leaf < size)

    def _update(self, home: Path) -> Log:
        status = (home / "ledger/ledger.sqlite3").stat()
        log = self._logs.setdefault((status.st_dev, status.st_ino), Log())
        log.update(home)
        return log


class Crowd:
    """A device and other programs on one home, in front of a recording proxy."""

    def __init__(self, folder: Path, url: str, key: str) -> None:
        self.home, self._key = folder / "home", key
        self.logs = Logs(self.home)
        self._device: subprocess.Popen[str] | None = None
        self._stack = ExitStack()
        self.proxy = self._stack.enter_context(RecordingProxy(url, self.logs))
        self.reasons: Counter[str] = Counter()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stack.close()

    def device(self) -> subprocess.Popen[str]:
        """Return the device, which is started if there is none."""
        if self._device is None:
            self._device = subprocess.Popen(
                [sys.executable, str(DEVICE), self.proxy.url, self._key, str(self.home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *sys.path])},
            )
        return self._device

    def start(self, captions: int, *, commands: bool = False, fork: bool = False) -> None:
        """Give the device work; :meth:`finish` waits for it."""
        home = ["--home", str(self.home)]
        task = {
            "captions": captions,
            "commands": [[*words, *home] for words in COMMANDS] if commands else [],
            "fork": fork,
        }
        stdin = self.device().stdin
        assert stdin is not None
        stdin.write(json.dumps(task) + "\n")
        stdin.flush()

    def finish(self) -> dict[str, Any]:
        stdout = self.device().stdout
        assert stdout is not None
        report: dict[str, Any] = json.loads(stdout.readline())
        self.reasons.update(report["reasons"])
        return report

    def kill(self) -> None:
        """Kill the device in the middle of its work."""
        device, self._device = self._device, None
        if device is not None:
            device.kill()
            device.communicate()

    @contextmanager
    def readers(self, count: int) -> Iterator[None]:
        """Run other programs that read the home meanwhile."""
        command = [sys.executable, str(READER), str(self.home)]
        others = [subprocess.Popen([*command, str(seed)]) for seed in range(count)]
        try:
            yield
        finally:
            for other in others:
                other.kill()
                other.wait()

    def frames(self) -> int:
        """Return the number of application frames that the proxy saw."""
        return sum(len(each.of(BINARY)) for each in self.proxy.conversations)


@pytest.fixture
def crowd(run_server: Any, tmp_path: Path) -> Iterator[Crowd]:
    server = run_server(rank=400)
    with Crowd(tmp_path, server.url, server.public_key) as crowd:
        yield crowd


def move_and_back(crowd: Crowd, choose: random.Random, name: str) -> None:
    moved_to = crowd.home.with_name(name)
    with crowd.logs.moving(moved_to):
        crowd.home.rename(moved_to)
    sleep(choose.uniform(0, 0.3))
    with crowd.logs.moving_back():
        if not crowd.home.exists():  # else the device has created a new one meanwhile
            moved_to.rename(crowd.home)


def move_for_good(crowd: Crowd, choose: random.Random, name: str) -> None:
    moved_to = crowd.home.with_name(name)
    with crowd.logs.moving(moved_to):
        crowd.home.rename(moved_to)


def replace_by_copy(crowd: Crowd, choose: random.Random, name: str) -> None:
    """Put a fresh backup in the home's place while the device runs on."""
    moved_to, copy = crowd.home.with_name(name), crowd.home.with_name(f"{name}-copy")
    with closing(sqlite3.connect(crowd.home / "ledger/ledger.sqlite3")) as db:
        db.execute("BEGIN IMMEDIATE")  # nobody writes, or the copy would be torn
        # By another process: copying in this one would drop that lock.
        subprocess.run(["cp", "-a", crowd.home, copy], check=True)
    with crowd.logs.moving(moved_to):
        crowd.home.rename(moved_to)
        copy.rename(crowd.home)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_frame_sent_is_in_a_log(crowd: Crowd) -> None:
    choose, moves = random.Random(13), (move_and_back, move_for_good, replace_by_copy)
    episodes = 0
    while crowd.frames() < FRAMES or episodes < EPISODES:
        episodes += 1
        with crowd.readers(choose.randint(0, 2)):
            crowd.start(choose.randint(4, 6), commands=True, fork=episodes % 2 == 0)
            crowd.finish()
            move = moves[episodes % len(moves)]
            crowd.start(choose.randint(2, 5))
            sleep(choose.uniform(0.05, 0.4))
            move(crowd, choose, f"away-{episodes}")
            crowd.finish()
            crowd.start(4)
            sleep(choose.uniform(0.05, 1.0))
            crowd.kill()
    crowd.start(1)  # so that there is a log at the home, wherever the last kill was
    assert crowd.finish()["frames"]
    assert crowd.logs.unlogged == 0, "frames were sent that no log has"
    assert crowd.frames() == crowd.logs.seen.total() >= FRAMES
    assert 2 * len(moves) == EPISODES, "too few of each kind"
    assert crowd.reasons.pop("ledger_moved", 0), "no home was moved under a caption"
    assert "the forked child did not caption" not in crowd.reasons
    sizes = {len(frame.payload) for each in crowd.proxy.conversations for frame in each.of(BINARY)}
    assert HELLO_BYTES in sizes
    with (
        Ledger(crowd.home / "ledger", anchor=crowd.home / "ledger.anchor") as ledger,
        ledger.reading() as view,
    ):
        owner = OwnerKey.load(crowd.home / "owner.key")
        assert verify_log(ledger, LogKey.load(crowd.home / "log.key").public, owner=owner).size
        assert view.users() == ["ada", "bob"]


def test_unlogged_frame_would_be_noticed(crowd: Crowd) -> None:
    crowd.start(1)
    crowd.finish()
    seen = crowd.logs.seen.total()
    assert seen > 40
    crowd.logs(b"a frame that was never sealed")
    assert (crowd.logs.unlogged, crowd.logs.seen.total()) == (1, seen)


REFUSED = {"ledger_unavailable": 2}
DELETIONS: dict[str, tuple[Callable[[Path], None], dict[str, int]]] = {
    "home": (shutil.rmtree, {}),  # like a new process, the device starts a new ledger
    "ledger": (lambda home: shutil.rmtree(home / "ledger"), REFUSED),
    # It is still open, so closing the ledger saves it, and the device continues with it.
    "log of the ledger": (lambda home: (home / "ledger/ledger.sqlite3-wal").unlink(), {}),
    "anchor": (lambda home: (home / "ledger.anchor").unlink(), REFUSED),
}
"""What is deleted, and the lasting reasons of captions."""


@pytest.mark.parametrize("what", DELETIONS)
def test_deleting_files_under_a_device_stops_it(crowd: Crowd, what: str) -> None:
    delete, reasons = DELETIONS[what]
    crowd.start(1)
    crowd.finish()
    before = crowd.frames()
    delete(crowd.home)
    crowd.start(1)
    assert crowd.finish() == {"frames": 0, "reasons": {"ledger_moved": 2}}
    assert crowd.frames() == before
    report: dict[str, Any] = {}
    ends_s = monotonic() + 30
    while report.get("reasons") != reasons and monotonic() < ends_s:
        sleep(0.05)  # it tries again after half a second
        crowd.start(1)
        report = crowd.finish()
    assert report["reasons"] == reasons
    crowd.start(1)
    assert crowd.finish()["reasons"] == reasons, "it stays so"
    assert (crowd.frames() > before) == (not reasons)
    assert crowd.logs.unlogged == 0
