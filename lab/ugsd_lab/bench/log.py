"""``ugsd-lab bench log``: measures the log: durable appends, verification, export and tiles.

Each append is a durable transaction of the ledger, without sealing a frame. The large log is
written in one transaction, since only reading it is measured. Commands that users run are timed as
separate processes, from start to end.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter

from ugsd_privacy.audit.bodies import Epoch
from ugsd_privacy.audit.log_signer import LogSigner
from ugsd_privacy.audit.records import BLOCK_FIELDS, EgressRecord, Leaf
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import Usage
from ugsd_privacy.dp.accounting import block_privacy_cost
from ugsd_privacy.dp.mechanism import exponent_of
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.ledger import EgressTransaction, Ledger, SigningTransaction
from ugsd_privacy.ledger.views import MAX_CHECKPOINTS
from ugsd_privacy.protocol.messages import AskedSlot, Block, Disclosure, encode

from ugsd_lab.bench.figures import Figure
from ugsd_lab.bench.measured_process import measured_environment
from ugsd_lab.errors import LabError
from ugsd_lab.models.embeddings import Progress

__all__ = ["measure_log", "write_log"]

WORKERS = 4
NOW_S = 1.7e9
BLOCK_TOKENS, STATE_DIM, FRAME_BYTES = 8, 25, 256
BLOCKS_PER_CAPTION = 2
_LAUNCHER = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process in between, because the kernel reports a child's peak memory as at least its
parent's at the fork."""
_SIGMA = 1.0
_CHARGE = Usage(
    blocks=1,
    tokens=BLOCK_TOKENS,
    frames=1,
    bytes=FRAME_BYTES,
    privacy_cost=block_privacy_cost(_SIGMA, num_states=1, has_draft_weights=False),
)


def measure_log(
    records: int, appends: int, folder: Path | None, progress: Progress
) -> list[Figure]:
    """Measure all figures, one after another. The logs are in ``folder``, by default a temporary
    one."""
    with tempfile.TemporaryDirectory(prefix="ugsd-bench-", dir=folder) as scratch:
        folder = Path(scratch)
        return [*_appends(folder, appends, progress), *_large(folder / "home", records, progress)]


def write_log(home: Path, records: int, progress: Progress) -> LogKey:
    """Write a home folder whose log has ``records`` valid records of one user and the checkpoints
    of its latest captions. Return the log's key."""
    home.mkdir(mode=0o700)
    with (
        Ledger(home / "ledger", anchor=home / "ledger.anchor") as ledger,
        closing(sqlite3.connect(ledger.path, isolation_level=None)) as db,
    ):
        db.execute("BEGIN IMMEDIATE")
        owner_key = OwnerKey.generate()
        owner_key.save(home / "owner.key")
        owner, epoch = owner_key.public, None
        key = LogKey.open_or_create(home / "log.key")
        signer, signing = LogSigner(key), SigningTransaction(db)
        for index in range(records):
            if not index % BLOCKS_PER_CAPTION:
                caption = os.urandom(16)
            epoch = _record(db, caption, NOW_S + index, owner, epoch)
            is_retained = index >= records - MAX_CHECKPOINTS * BLOCKS_PER_CAPTION
            if is_retained and (index + 1) % BLOCKS_PER_CAPTION == 0:
                signer.sign(signing)
            progress("writing a log", index + 1, records, "")
        db.execute("COMMIT")
    return key


def _record(
    db: sqlite3.Connection,
    caption: bytes,
    now_s: float,
    owner: OwnerPublicKey,
    epoch: Epoch | None,
) -> Epoch:
    """Write one record, sealed in ``epoch`` or in a new epoch. Return the epoch."""
    egress = EgressTransaction(db, "ada", caption, now_s, None)
    message = Block(
        caption=0,
        slot=AskedSlot.EMOTION,
        tokens=tuple(range(200, 200 + BLOCK_TOKENS)),
        state_positions=(0,),
        states=os.urandom(STATE_DIM),
        exponent=exponent_of(_SIGMA),
    )
    record = EgressRecord(
        kind="block",
        caption_id=caption,
        disclosure=Disclosure.SUMMARY,
        **{name: getattr(message, name) for name in BLOCK_FIELDS},
        message=encode(message),
        clip_norm=1.0,
        sigma=_SIGMA,
        spend=_CHARGE.privacy_cost,
        delta=1e-6,
        frame_bytes=FRAME_BYTES,
        frame_sha256=bytes(32),
        before={window: used.counts for window, used in egress.before.items()},
        hour=egress.hour,
        user="ada",
        time_s=int(now_s),
        verifier="aaaaa-bbbbb-ccccc-ddddd-eeeee",
    )
    salt = os.urandom(32)
    body = record.to_bytes()
    content = Leaf.from_body(body, record.charge, salt).to_bytes()
    current = epoch or Epoch.create(egress.index, os.urandom(32), owner)
    sealed = current.seal(egress.index, content, salt, body)
    egress.record(_CHARGE, content=content, sealed=sealed)
    if epoch is None:
        egress.begin_epoch(owner.digest, current.sealed)
    return current


def _appends(folder: Path, appends: int, progress: Progress) -> Iterator[Figure]:
    spawned = multiprocessing.get_context("spawn")
    kinds: list[tuple[str, int, Executor]] = [
        ("one thread", 1, ThreadPoolExecutor(1)),
        (f"{WORKERS} threads", WORKERS, ThreadPoolExecutor(WORKERS)),
        (f"{WORKERS} processes", WORKERS, ProcessPoolExecutor(WORKERS, mp_context=spawned)),
    ]
    for done, (name, workers, executor) in enumerate(kinds, 1):
        with executor, Ledger(folder / name, anchor=folder / f"{name}.anchor") as ledger:
            list(executor.map(_append, [ledger.path.parent] * workers, [1] * workers))  # warm up
            shared = ledger if isinstance(executor, ThreadPoolExecutor) else ledger.path.parent
            started_s = perf_counter()
            list(executor.map(_append, [shared] * workers, [appends // workers] * workers))
            elapsed_s = perf_counter() - started_s
        yield Figure(f"durable append, {name}", 1e3 * elapsed_s / appends, "ms", 0.5)
        yield Figure("  per second", appends / elapsed_s, "")
        progress("appending", done, len(kinds), name)


def _append(where: Ledger | Path, count: int) -> None:
    if isinstance(where, Path):
        anchor = where.with_suffix(".anchor")
        with Ledger(where, anchor=anchor, busy_timeout_s=60) as ledger:
            _append(ledger, count)
        return
    for _ in range(count):
        caption, salt = os.urandom(16), os.urandom(32)
        with where.begin_egress(user="ada", caption=caption, now_s=NOW_S) as egress:
            content = Leaf(salt, FRAME_BYTES, 1, BLOCK_TOKENS).to_bytes()
            egress.record(_CHARGE, content=content, sealed=bytes(450))


def _large(home: Path, records: int, progress: Progress) -> Iterator[Figure]:
    key = write_log(home, records, progress)
    with Ledger(home / "ledger", anchor=home / "ledger.anchor") as ledger:
        started_s = perf_counter()
        verify_log(ledger, key.public, owner=OwnerKey.load(home / "owner.key"))
        elapsed_s = perf_counter() - started_s
    yield Figure(f"verifying the ledger's {records:,} records", elapsed_s, "s")
    yield Figure("  per second", records / elapsed_s, "")
    files = {"": home.with_name("log.ugsd"), ", with bodies": home.with_name("bodies.ugsd")}
    for done, (name, file) in enumerate(files.items(), 1):
        options = ["--with-bodies"] if name else []
        yield from _command(f"ugsd audit export FILE{name}", home, "export", str(file), *options)
        yield Figure("  size", file.stat().st_size / 1e6, "MB")
        verifying = f"ugsd audit verify FILE{name}"
        elapsed, memory = _command(
            verifying, home, "verify", str(file), "--log-key", key.public.to_text()
        )
        yield from (elapsed, Figure("  per second", records / elapsed.value, ""), memory)
        progress("exporting and verifying", done, len(files), "")
    yield from _command(
        "ugsd audit export --tiles", home, "export", "--tiles", str(home.with_name("tiles"))
    )
    shutil.rmtree(home)


def _command(name: str, home: Path, *arguments: str) -> Iterator[Figure]:
    """Yield the time of a command, including its start, and its peak memory."""
    program = [sys.executable, "-m", "ugsd_sdk", "audit", *arguments, "--home", str(home)]
    done = subprocess.run(  # noqa: S603  (our own)
        [sys.executable, "-c", _LAUNCHER, *program],
        check=False,
        capture_output=True,
        text=True,
        env=measured_environment(),
    )
    if done.returncode:
        raise LabError(f"{name} failed: {done.stderr.strip()}")
    elapsed_s, memory_kib = map(float, done.stdout.split())
    yield Figure(name, elapsed_s, "s")
    yield Figure("  peak memory", memory_kib / 1024, "MB", 200)
