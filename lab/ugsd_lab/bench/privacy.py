"""``ugsd-lab bench privacy``: what the door, the handshake and the noise cost on this machine.

The door is measured whole, its durable commit to a real disk included, for a block of eight tokens
with a state of sixteen numbers each; beside it, in the same run, what sealing alone and committing
alone would take.
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
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel, TrafficShape
from ugsd_privacy.protocol.messages import Disclosure
from websockets.frames import Frame, Opcode

from ugsd_lab.bench.figures import Figure, percentile
from ugsd_lab.training.train import Progress

__all__ = ["measure_privacy"]

TOKENS, NUMBERS = 8, 16
SIGMA = 0.6
HANDSHAKES_PER_RUN = 5
"""A handshake is measured once for so many blocks."""


def measure_privacy(runs: int, folder: Path | None, progress: Progress) -> list[Figure]:
    """All figures, one after another. The ledger lies in ``folder``, a scratch one if none."""
    with tempfile.TemporaryDirectory(prefix="ugsd-bench-", dir=folder) as scratch:
        place = Path(scratch)
        plain = _door(place / "plain", runs, None, TrafficShape.PADDED, progress)
        noised = _door(place / "noised", runs, SIGMA, TrafficShape.PADDED, progress)
        constant = _door(place / "constant", runs, None, TrafficShape.CONSTANT, progress)
        return [
            *plain.figures("door, whole", goals=(1.5, 0.5)),
            *noised.figures(f"door with noise of sigma {SIGMA}", goals=(1.5, 0.5)),
            *constant.figures("door in constant shape"),
            *_alone(place / "bare.sqlite3", runs, plain, progress),
            *_handshake(max(20, runs // HANDSHAKES_PER_RUN), progress),
            *_wire(plain),
            *_accounting(runs),
            *_verification(place / "plain", plain),
        ]


class _Door:
    """What a door took, block after block, and what it let out last."""

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
        yield Figure("  of it CPU, p50", percentile(self.cpu_ms, 50), "ms", cpu_ms)
        yield Figure("  the first one", self.first_ms, "ms")


def _door(
    folder: Path, runs: int, sigma: float | None, shape: TrafficShape, progress: Progress
) -> _Door:
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
    measured = _Door(log_key)
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

            def pass_one() -> None:
                frame = egress.seal_block(channel, caption, block, shape=shape)  # noqa: B023
                measured.frame = frame.data

            wall_ms, cpu_ms = _timed(pass_one)
            measured.message = server.open(measured.frame)
            if done == 1:
                measured.first_ms = wall_ms
            measured.wall_ms.append(wall_ms)
            measured.cpu_ms.append(cpu_ms)
            progress(f"through the door ({shape}, noise {sigma or 0:g})", done, runs, "")
    return measured


def _alone(path: Path, runs: int, user_egress: _Door, progress: Progress) -> Iterator[Figure]:
    """The two things that no door could do without: a durable commit, and sealing."""
    key = VerifierKey.generate()
    channel, server = ClientChannel(key.public), ServerChannel(key)
    channel.receive_hello(server.receive_hello(channel.hello(), b""))
    commits, seals = [], []
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE passages (frame BLOB NOT NULL)")
        for done in range(1, runs + 1):

            def commit() -> None:
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT INTO passages VALUES (?)", (user_egress.frame,))
                db.execute("COMMIT")

            commits.append(_timed(commit)[0])
            seals.append(_timed(lambda: channel.seal(user_egress.message))[0])
            progress("commit and seal alone", done, runs, "")
    commit_ms, seal_ms = percentile(commits, 50), percentile(seals, 50)
    yield Figure("durable commit of one row, alone, p50", commit_ms, "ms")
    yield Figure("sealing, alone, p50", seal_ms, "ms")
    whole_ms = percentile(user_egress.wall_ms, 50)
    yield Figure("the whole door against both alone", whole_ms / (commit_ms + seal_ms), "x")


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
        spent = [_timed(step) for step in steps]
        wall.append(sum(wall_ms for wall_ms, _ in spent))
        device.append(spent[0][1] + spent[2][1])
        verifier.append(spent[1][1])
        progress("handshakes", done, runs, "")
    both = [sum(pair) for pair in zip(device, verifier, strict=True)]
    yield Figure("handshake, CPU of both sides, p50", percentile(both, 50), "ms", 5)
    yield Figure("  of it the device's", percentile(device, 50), "ms")
    yield Figure("  of it the verifier's", percentile(verifier, 50), "ms")
    yield Figure("handshake, wall time of both sides, p95", percentile(wall, 95), "ms")


def _wire(user_egress: _Door) -> Iterator[Figure]:
    """What the block of the bench takes on the wire, TCP and below left out."""
    message, frame = len(user_egress.message), len(user_egress.frame)
    sent = len(Frame(Opcode.BINARY, user_egress.frame).serialize(mask=True))
    sealed = 1 + 2 + 16  # type, length, tag; the rest of the frame is padding
    overhead = sealed + sent - frame
    content = TOKENS * NUMBERS + 2 * TOKENS
    yield Figure("message of the block", message, "bytes")
    yield Figure("  of it token ids and states", content, "bytes")
    yield Figure("frame of the block, padded", frame, "bytes")
    yield Figure("sealing and websocket, of the message", 100 * overhead / message, "%", 25)
    beside = message - content + overhead
    name = "  with the message's own names and lengths, of ids and states"
    yield Figure(name, 100 * beside / content, "%")


def _accounting(runs: int) -> Iterator[Figure]:
    total = privacy_cost(sensitivity=2.0, sigma=SIGMA, vectors=12)
    times = [_timed(lambda: epsilon_of_privacy_cost(total, 1e-6))[1] for _ in range(runs)]
    yield Figure("epsilon of 12 states, CPU, p50", percentile(times, 50), "ms")


def _verification(folder: Path, user_egress: _Door) -> Iterator[Figure]:
    with Ledger(folder, anchor=folder.with_suffix(".anchor")) as ledger:
        found = []
        wall_ms, _ = _timed(
            lambda: found.append(
                verify_log(ledger, user_egress.key.public, owner=user_egress.owner)
            )
        )
        yield Figure("records verified in a second", 1000 * found[0].size / wall_ms, "")


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of wall time and of this process' CPU."""
    wall_ns, cpu_ns = perf_counter_ns(), process_time_ns()
    run()
    return (perf_counter_ns() - wall_ns) / 1e6, (process_time_ns() - cpu_ns) / 1e6
