"""Tens of thousands of attempts to overspend: with failing disks, clocks, restarts, threads,
processes and kills. The test itself counts what is sent, and compares it with the caps."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import BudgetExceeded, LedgerUnavailable
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger, Uptime

HOUR_S = 3600.0
FAULTY, CROWDED, CROWD_CAP = 20_000, 8_000, 600
LIFETIME = 250
CAPS = BudgetLimits.without_caps(
    blocks_per_caption=3, tokens_per_recording=9, tokens_per_hour=60, frames_per_day=150,
    blocks_per_lifetime=LIFETIME,
)  # fmt: skip
RECORDED_SHARE = 0.5


class Faulty:
    """A connection that fails at a chosen statement, before or after it takes effect."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.real = db
        self._due: int | None = None
        self._after = False

    def arm(self, due: int | None, *, after: bool) -> None:
        self._due, self._after = due, after

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if self._due is None:
            return self.real.execute(statement, *values)
        self._due -= 1
        fails = self._due == 0
        if fails and not self._after:
            raise sqlite3.OperationalError("disk I/O error")
        done = self.real.execute(statement, *values)
        if fails:
            raise sqlite3.OperationalError("database or disk is full")
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def tokens_within_an_hour(sent: list[tuple[float, int]]) -> int:
    """Return the most tokens that were sent within any hour of uptime."""
    most = first = total = 0
    for at_s, tokens in sent:
        total += tokens
        while sent[first][0] <= at_s - HOUR_S:
            total -= sent[first][1]
            first += 1
        most = max(most, total)
    return most


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_disk_and_clock_faults_never_overspend(
    new_world: Callable[[Path], Any], tmp_path: Path
) -> None:
    choose = random.Random(20)
    world = new_world(tmp_path / "ledger")
    world.ledger = Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor", busy_timeout_s=0.2)
    world.ledger.open()
    boot, uptime_s = 0, 50.0
    by_caption: Counter[bytes] = Counter()
    by_recording: Counter[tuple[str, bytes]] = Counter()
    recordings = [choose.randbytes(16) for _ in range(2)]
    blocks: Counter[str] = Counter()
    since_boot: defaultdict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    outcomes: Counter[str] = Counter()
    users = {name: world.egress(limits=CAPS, user=name) for name in ("ada", "ben", "cy")}
    captions: dict[str, Any] = {}
    escalations = [world.escalation(n, dim=2) for n in range(1, 5)]
    for _ in range(FAULTY):
        uptime_s += choose.choice((0.0, 1.0, 5.0, 20.0))
        event = choose.random()
        if event < 0.02:  # the clock is set, forward or back
            world.now_s = max(0.0, world.now_s + choose.uniform(-400, 400) * HOUR_S)
        elif event < 0.023:  # the machine restarts
            boot, uptime_s = boot + 1, choose.uniform(0, 100)
            world.ledger.close()
            world.ledger.open()
            captions.clear()
        world.uptime = Uptime(f"boot {boot}", uptime_s)
        name = choose.choice(list(users))
        faulty = Faulty(world.ledger._database._connection)
        if choose.random() < 0.1:
            faulty.arm(choose.randrange(1, 26), after=choose.random() < 0.5)
        world.ledger._database._connection = faulty
        try:
            if not captions or choose.random() < 0.01:
                captions.clear()
                captions[name] = world.connect(users[name])
            elif name not in captions or choose.random() < 0.2:
                if choose.random() < 0.05:  # two recordings of each user go on at once
                    recordings[choose.randrange(2)] = choose.randbytes(16)
                recording = choose.choice(recordings) if choose.random() < RECORDED_SHARE else None
                captions[name] = users[name].begin_caption(world.channel, recording=recording)
            tokens = choose.randrange(1, 5)
            frame = users[name].seal_block(world.channel, captions[name], escalations[tokens - 1])
        except BudgetExceeded as refusal:
            outcomes[refusal.cap] += 1
        except LedgerUnavailable:
            outcomes["unavailable"] += 1
            captions.clear()
        else:
            assert frame.data
            outcomes["sent"] += 1
            by_caption[captions[name].id] += 1
            if captions[name].recording is not None:
                by_recording[name, captions[name].recording] += tokens
            blocks[name] += 1
            since_boot[name, boot].append((uptime_s, tokens))
        finally:
            faulty.arm(None, after=False)
            world.ledger._database._connection = faulty.real
            if faulty.real.in_transaction:
                faulty.real.execute("ROLLBACK")
    print(outcomes, blocks)
    assert outcomes.total() == FAULTY
    assert {"sent", "unavailable", "tokens_per_hour"} <= set(outcomes)
    assert {"blocks_per_caption", "frames_per_day", "blocks_per_lifetime"} <= set(outcomes)
    assert max(by_caption.values()) <= 3
    assert outcomes["tokens_per_recording"]
    assert max(by_recording.values()) == 9
    assert max(blocks.values()) <= LIFETIME
    # Any hour overlaps at most two numbered ones, whatever the clock was set to.
    assert max(map(tokens_within_an_hour, since_boot.values())) <= 2 * 60
    assert world.verified().total.blocks >= blocks.total()
    world.ledger.close()


CROWD = """
import os, signal, sys, threading, time
import numpy as np
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.errors import BudgetExceeded
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.protocol.messages import Disclosure

directory, anchor, window, *numbers = sys.argv[1:]
kills, attempts, threads, cap, seed = map(int, numbers)
block = Escalation(Disclosure.SUMMARY, 0, (), (1,), (0,), np.zeros((1, 4), np.float32))
key, log_key = VerifierKey.generate(), LogKey.generate()
owner = OwnerKey.generate().public


def device(attempts, user):
    # Reports each block that may be sent, before anything else happens.
    with Ledger(directory, anchor=anchor, busy_timeout_s=60) as ledger:
        limits = BudgetLimits.without_caps(**{f"blocks_per_{window}": cap})
        egress = Egress(
            ledger=ledger, owner=owner, limits=limits, user=user
        )

        def hammer():
            channel, server = ClientChannel(key.public), ServerChannel(key)
            channel.receive_hello(server.receive_hello(egress.seal_hello(channel).data, b""))
            caption = egress.begin_caption(channel, recording=b"one recording ..")
            for _ in range(attempts):
                try:
                    frame = egress.seal_block(channel, caption, block)
                except BudgetExceeded:
                    os.write(1, b"refused %s\\n" % user.encode())
                else:
                    os.write(1, b"sent %s %d\\n" % (user.encode(), frame.record))

        pool = [threading.Thread(target=hammer) for _ in range(threads)]
        [thread.start() for thread in pool]
        [thread.join() for thread in pool]


with Ledger(directory, anchor=anchor):
    pass
random = np.random.default_rng(seed)
for number in range(kills):  # every child imports nothing: a fork is quick to kill anywhere
    child = os.fork()
    if not child:
        device(10**6, f"killed {number % 7}".replace(" ", "-"))
    time.sleep(float(random.uniform(0.0005, 0.03)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
if attempts:
    device(attempts, "crowd")
"""


def start(
    folder: Path, window: str, *, kills: int, attempts: int, threads: int, cap: int, seed: int
) -> Any:
    numbers = map(str, (kills, attempts, threads, cap, seed))
    command = [sys.executable, "-c", CROWD, str(folder / "ledger"), str(folder / "anchor"), window]
    return subprocess.Popen([*command, *numbers], stdout=subprocess.PIPE, text=True)


def lines_of(*crowd: Any) -> Iterator[list[str]]:
    for process in crowd:
        with process:
            yield from (line.split() for line in process.stdout)
        assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("window", ["recording", "lifetime"])
def test_processes_and_threads_never_overspend(tmp_path: Path, window: str) -> None:
    each = CROWDED // 8
    crowd = [
        start(tmp_path, window, kills=0, attempts=each, threads=4, cap=CROWD_CAP, seed=seed)
        for seed in (1, 2)
    ]
    lines = list(lines_of(*crowd))
    sent = [int(line[2]) for line in lines if line[0] == "sent"]
    assert len(lines) == CROWDED
    assert len(set(sent)) == len(sent) == CROWD_CAP
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor") as ledger:
        assert verify_log(ledger, LogKey.generate().public).total.blocks == CROWD_CAP


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
@pytest.mark.parametrize("window", ["recording", "lifetime"])
def test_kills_never_overspend_or_send_unlogged_frames(window: str) -> None:
    # On the fastest disk there is, so that kills hit every moment of an egress.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        crowd = start(Path(folder), window, kills=250, attempts=0, threads=1, cap=40, seed=3)
        lines = list(lines_of(crowd))
        sent = Counter(line[1] for line in lines if line[0] == "sent")
        assert any(line[0] == "refused" for line in lines), "no cap was reached"
        assert max(sent.values()) <= 40
        with Ledger(Path(folder) / "ledger", anchor=Path(folder) / "anchor") as ledger:
            summary = verify_log(ledger, LogKey.generate().public)
            with ledger.reading() as view:
                logged = {row.leaf: row.user for row in view.rows() if row.blocks}
    assert summary.total.blocks >= sent.total() > 100
    assert max(Counter(logged.values()).values()) <= 40
    for _, user, leaf in (line for line in lines if line[0] == "sent"):
        assert logged[int(leaf)] == user, "a frame that the log lacks"
