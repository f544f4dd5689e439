"""``ugsd-lab bench privacy``: measures the egress, the handshake and the noise on this machine.

The egress is measured end to end, including its durable commit to a real disk, for a block of eight
tokens with a state of sixteen numbers each. That is an upper example: the question of a bundled
drafter has about five tokens and one state of six numbers. Sealing alone and committing alone are
measured in the same run, for comparison.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns, process_time_ns

import numpy as np
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.accounting import epsilon_of_privacy_cost, privacy_cost
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from websockets.frames import Frame, Opcode

from ugsd_lab.bench.figures import Figure, percentile
from ugsd_lab.models.embeddings import Progress

__all__ = ["measure_privacy"]

TOKENS, NUMBERS = 8, 16
SIGMA = 0.6
HANDSHAKES_PER_RUN = 5
"""One handshake is measured for this many blocks."""


def measure_privacy(runs: int, folder: Path | None, progress: Progress) -> list[Figure]:
    """Measure all figures, one after another. The ledger is in ``folder``, by default a temporary
    one."""
    with tempfile.TemporaryDirectory(prefix="ugsd-bench-", dir=folder) as scratch:
        folder = Path(scratch)
        plain = _egress(folder / "plain", runs, None, TrafficShape.PADDED, progress)
        noised = _egress(folder / "noised", runs, SIGMA, TrafficShape.PADDED, progress)
        constant = _egress(folder / "constant", runs, None, TrafficShape.CONSTANT, progress)
        return [
            *plain.figures("egress of a block", goals=(1.5, 0.5)),
            *noised.figures(f"egress with noise of sigma {SIGMA}", goals=(1.5, 0.5)),
            *constant.figures("egress in constant shape"),
            *_commit_and_seal(folder / "bare.sqlite3", runs, plain, progress),
            *_handshake(max(20, runs // HANDSHAKES_PER_RUN), progress),
            *_wire(plain),
            *_accounting(runs),
            *_verification(folder / "plain", plain),
        ]


class _EgressTimes:
    """The times of an egress, block after block, and its last frame."""

    def __init__(self, key: LogKey) -> None:
        self.key = key
        self.owner = OwnerKey.generate()
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.first_ms = 0.0
        self.frame = b""
        self.message = b""

    def figures(self, name: str, goals: tuple[float, float] | None = None) -> Iterator[Figure]:
        wall_ms, cpu_ms = goals or (None, None)
        yield Figure(f"{name}, p50", percentile(self.wall_ms, 50), "ms", wall_ms)
        yield Figure(f"{name}, p95", percentile(self.wall_ms, 95), "ms")
        yield Figure("  CPU, p50", percentile(self.cpu_ms, 50), "ms", cpu_ms)
        yield Figure("  first block", self.first_ms, "ms")


def _egress(
    folder: Path, runs: int, sigma: float | None, shape: TrafficShape, progress: Progress
) -> _EgressTimes:
    key, log_key = VerifierKey.generate(), LogKey.generate()
    states = np.random.default_rng(0).normal(size=(TOKENS, NUMBERS)).astype(np.float32)
    block = Escalation(
        Disclosure.BLOCK_STATES,
        0,
        (),
        tuple(range(200, 200 + TOKENS)),
        tuple(range(TOKENS)),
        states,
    )
    measured = _EgressTimes(log_key)
    with Ledger(folder, anchor=folder.with_suffix(".anchor")) as ledger:
        egress = Egress(
            ledger=ledger,
            owner=measured.owner.public,
            limits=BudgetLimits.without_caps(),
            user="ada",
            sigma=sigma,
        )
        channel, server = ClientChannel(key.public), ServerChannel(key)
        channel.receive_hello(server.receive_hello(egress.seal_hello(channel).data, b""))
        for done in range(1, runs + 1):
            caption = egress.begin_caption(channel)

            def seal_block() -> None:
                frame = egress.seal_block(channel, caption, block, shape=shape)  # noqa: B023
                measured.frame = frame.data

            wall_ms, cpu_ms = _timed(seal_block)
            measured.message = server.open(measured.frame)
            if done == 1:
                measured.first_ms = wall_ms
            measured.wall_ms.append(wall_ms)
            measured.cpu_ms.append(cpu_ms)
            progress(f"egress ({shape}, noise {sigma or 0:g})", done, runs, "")
    return measured


def _commit_and_seal(
    path: Path, runs: int, measured: _EgressTimes, progress: Progress
) -> Iterator[Figure]:
    """Measure a durable commit and sealing, which any egress needs, each alone."""
    key = VerifierKey.generate()
    channel, server = ClientChannel(key.public), ServerChannel(key)
    channel.receive_hello(server.receive_hello(channel.hello(), b""))
    commits, seals = [], []
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE frames (frame BLOB NOT NULL)")
        for done in range(1, runs + 1):

            def commit() -> None:
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT INTO frames VALUES (?)", (measured.frame,))
                db.execute("COMMIT")

            commits.append(_timed(commit)[0])
            seals.append(_timed(lambda: channel.seal(measured.message))[0])
            progress("commit and seal alone", done, runs, "")
    commit_ms, seal_ms = percentile(commits, 50), percentile(seals, 50)
    yield Figure("durable commit of one row, alone, p50", commit_ms, "ms")
    yield Figure("sealing, alone, p50", seal_ms, "ms")
    whole_ms = percentile(measured.wall_ms, 50)
    yield Figure("egress compared with both", whole_ms / (commit_ms + seal_ms), "x")


def _handshake(runs: int, progress: Progress) -> Iterator[Figure]:
    key = VerifierKey.generate()
    device, verifier, wall = [], [], []
    for done in range(1, runs + 1):
        channel, server = ClientChannel(key.public), ServerChannel(key)
        flights: list[bytes] = []
        steps: list[Callable[[], object]] = [
            lambda: flights.append(channel.hello()),  # noqa: B023
            lambda: flights.append(server.receive_hello(flights[0], b"w" * 150)),  # noqa: B023
            lambda: channel.receive_hello(flights[1]),  # noqa: B023
        ]
        times = [_timed(step) for step in steps]
        wall.append(sum(wall_ms for wall_ms, _ in times))
        device.append(times[0][1] + times[2][1])
        verifier.append(times[1][1])
        progress("handshakes", done, runs, "")
    both = [sum(pair) for pair in zip(device, verifier, strict=True)]
    yield Figure("handshake, CPU of both sides, p50", percentile(both, 50), "ms", 5)
    yield Figure("  device, p50", percentile(device, 50), "ms")
    yield Figure("  verifier, p50", percentile(verifier, 50), "ms")
    yield Figure("handshake, wall time of both sides, p95", percentile(wall, 95), "ms")


def _wire(measured: _EgressTimes) -> Iterator[Figure]:
    """Measure the size of the benchmark's block on the wire, without TCP and lower layers."""
    message, frame = len(measured.message), len(measured.frame)
    sent = len(Frame(Opcode.BINARY, measured.frame).serialize(mask=True))
    sealed = 1 + 2 + 16  # type, length, tag; the rest of the frame is padding
    overhead = sealed + sent - frame
    content = TOKENS * NUMBERS + 2 * TOKENS
    yield Figure("message of the block", message, "bytes")
    yield Figure("  token ids and states", content, "bytes")
    yield Figure("frame of the block, padded", frame, "bytes")
    yield Figure("overhead of sealing and websocket", 100 * overhead / message, "%", 25)
    total = message - content + overhead
    name = "  with field names and lengths, relative to ids and states"
    yield Figure(name, 100 * total / content, "%")


def _accounting(runs: int) -> Iterator[Figure]:
    total = privacy_cost(sensitivity=2.0, sigma=SIGMA, vectors=12)
    times = [_timed(lambda: epsilon_of_privacy_cost(total, 1e-6))[1] for _ in range(runs)]
    yield Figure("epsilon of 12 states, CPU, p50", percentile(times, 50), "ms")


def _verification(folder: Path, measured: _EgressTimes) -> Iterator[Figure]:
    with Ledger(folder, anchor=folder.with_suffix(".anchor")) as ledger:
        summaries = []
        wall_ms, _ = _timed(
            lambda: summaries.append(verify_log(ledger, measured.key.public, owner=measured.owner))
        )
        yield Figure("records verified per second", 1000 * summaries[0].size / wall_ms, "")


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return milliseconds of wall time and of this process' CPU time."""
    wall_ns, cpu_ns = perf_counter_ns(), process_time_ns()
    run()
    return (perf_counter_ns() - wall_ns) / 1e6, (process_time_ns() - cpu_ns) / 1e6
