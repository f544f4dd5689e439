"""A witness of logs: it cosigns checkpoints that extend what it cosigned before, and no others.

C2SP tlog-witness, sans I/O: the bytes of a request in, status and bytes of the answer out. What it
cosigned last is on disk before it answers, in one SQLite transaction with the look at what that
was, so that threads, processes and crashes cannot make it sign a smaller or a forked tree. A state
restored from a backup forgets; one that was lost is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from ugsd_privacy.audit.checkpoint import (
    Checkpoint,
    note_origin,
    open_note,
    parse_checkpoint,
)
from ugsd_privacy.audit.cosignature import WitnessKey, cosign
from ugsd_privacy.audit.merkle import EMPTY_ROOT, verify_consistency
from ugsd_privacy.audit.whole_files import MAX_NOTE_BYTES
from ugsd_privacy.errors import KeyFileError, LogTampered, WitnessUnavailable
from ugsd_privacy.keys import LogPublicKey

__all__ = [
    "MAX_REQUEST_BYTES",
    "AddCheckpoint",
    "Answer",
    "Witness",
    "WitnessState",
    "open_witness",
]

_MAX_PROOF_LINES = 63
_HASH_BYTES = 32
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * (_MAX_PROOF_LINES + 1)
_PLAIN = "text/plain; charset=utf-8"
_SIZE = "text/x.tlog.size"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS cosigned (origin_hash TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " root BLOB NOT NULL, note TEXT NOT NULL) STRICT"
)


class Answer(NamedTuple):
    """Of a witness, to one request."""

    status: int
    """As HTTP has it."""
    body: bytes
    content_type: str = _PLAIN


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: cosign ``note``, which extends a tree of ``old_size`` leaves by ``proof``."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Parse a request. Raises :class:`LogTampered`."""
        try:
            head, separator, note = body.decode().partition("\n\n")
            first, *lines = head.split("\n")
            old = _OLD.fullmatch(first)
            proof = tuple(base64.b64decode(line, validate=True) for line in lines)
        except (ValueError, binascii.Error):
            raise LogTampered("not a request to cosign a checkpoint") from None
        if old is None or not separator or len(body) > MAX_REQUEST_BYTES:
            raise LogTampered("not a request to cosign a checkpoint")
        request = cls(int(old[1]), proof, note)
        sound = len(proof) <= _MAX_PROOF_LINES and all(len(step) == _HASH_BYTES for step in proof)
        if not sound or request.to_bytes() != body:
            raise LogTampered("the request's proof is malformed")
        return request

    def to_bytes(self) -> bytes:
        """The body of an ``add-checkpoint`` request."""
        lines = [f"old {self.old_size}", *(base64.b64encode(step).decode() for step in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.note).encode()


class Witness:
    """A witness of ``logs`` by ``key``. Safe to share between threads, and ``state`` between
    processes. ``clock`` gives Unix time in seconds."""

    def __init__(
        self,
        key: WitnessKey,
        logs: Iterable[LogPublicKey],
        state: WitnessState,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._logs = {log.origin: log for log in logs}
        self._state = state
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer an ``add-checkpoint`` request: 200 with a cosignature, 409 with the size that was
        cosigned last, or 400, 403, 404 or 422 in words.

        Raises :class:`WitnessUnavailable`; then nothing is signed.
        """
        try:
            request = AddCheckpoint.from_bytes(body)
        except LogTampered as error:
            return _refusal(400, str(error))
        log = self._logs.get(note_origin(request.note))
        if log is None:
            return _refusal(404, "this witness does not know that log")
        try:
            text = open_note(request.note, log)
        except LogTampered as error:
            return _refusal(403, str(error))
        try:
            wanted = parse_checkpoint(text, log.origin)
        except LogTampered as error:
            return _refusal(400, str(error))
        if request.old_size > wanted.size:
            return _refusal(400, "the old size is larger than the checkpoint's")
        return self._decided(request, wanted, text)

    def checkpoint(self, origin_hash: str) -> Answer:
        """The checkpoint of a log that was cosigned last, 404 before any; ``origin_hash`` is the
        SHA-256 of the log's origin in hex. Raises as :meth:`add_checkpoint`."""
        note = self._state.note(origin_hash)
        return _refusal(404, "none was cosigned") if note is None else Answer(200, note.encode())

    def _decided(self, request: AddCheckpoint, wanted: Checkpoint, text: str) -> Answer:
        with self._state.deciding(wanted.origin) as latest:
            if request.old_size != latest.size:
                return Answer(409, f"{latest.size}\n".encode(), _SIZE)
            if not wanted.size and wanted.root != EMPTY_ROOT:
                return _refusal(422, "not the root of a tree without leaves")
            try:
                verify_consistency(
                    latest.size, wanted.size, latest.root, wanted.root, request.proof
                )
            except LogTampered as error:
                return _refusal(422, str(error))
            line = cosign(text, self._key, max(1, int(self._clock())))
            latest.replace(wanted, request.note + line)
        return Answer(200, line.encode())


def open_witness(folder: Path, key_file: Path | None = None) -> tuple[WitnessKey, WitnessState]:
    """The key and the state of the witness in ``folder``, made together where there is no key.

    Raises :class:`KeyFileError` or :class:`WitnessUnavailable`: also where the state was lost and
    the key was not.
    """
    path = folder / "witness.key" if key_file is None else key_file
    create = not path.exists()
    # The state first: a crash between the two leaves a folder that can be used.
    state = WitnessState(folder / "witness.sqlite3", create=create).open()
    if create:
        try:
            WitnessKey.generate().save(path)
        except KeyFileError:
            if not path.exists():  # else another process made it meanwhile
                raise
    return WitnessKey.load(path), state


class WitnessState:
    """What a witness cosigned last of each log, in a file of SQLite.

    Without ``create`` it must be there already: a witness that forgot would sign anything.
    """

    def __init__(self, path: Path, *, create: bool = False, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._create = create
        self._busy_timeout_s = busy_timeout_s

    def open(self) -> Self:
        """Check the file, make it where it may. Raises :class:`WitnessUnavailable`."""
        if not self._create and not self._path.exists():
            raise WitnessUnavailable(
                f"{self._path} was lost, so this witness forgot what it cosigned; restore it, or "
                "begin with another key"
            )
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise WitnessUnavailable(f"cannot make {self._path.parent}") from error
        with self._transaction() as db:
            db.execute(_TABLE)
        return self

    def note(self, origin_hash: str) -> str | None:
        """The cosigned checkpoint of a log. Raises :class:`WitnessUnavailable`."""
        with self._transaction() as db:
            row = _row(db, origin_hash)
        return None if row is None else row[2]

    @contextmanager
    def deciding(self, origin: str) -> Iterator[_Latest]:
        """What was cosigned last of a log, which nobody else changes meanwhile; what replaces it is
        on disk at the end. Raises :class:`WitnessUnavailable`."""
        with self._transaction() as db:
            yield _Latest(db, hashlib.sha256(origin.encode()).hexdigest())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            ) as db:
                db.execute("PRAGMA synchronous = EXTRA")  # the journal's removal is durable too
                db.execute("PRAGMA fullfsync = ON")
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")  # on any error the connection is closed, which rolls back
        except sqlite3.Error as error:
            raise WitnessUnavailable(
                f"{self._path} cannot be used (locked, full or damaged); nothing is signed"
            ) from error


class _Latest:
    """The tree of one log that was cosigned last, within a transaction."""

    def __init__(self, db: sqlite3.Connection, origin_hash: str) -> None:
        self._db = db
        self._origin_hash = origin_hash
        self.size, self.root, _ = _row(db, origin_hash) or (0, EMPTY_ROOT, "")

    def replace(self, checkpoint: Checkpoint, note: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?)",
            (self._origin_hash, checkpoint.size, checkpoint.root, note),
        )


def _row(db: sqlite3.Connection, origin_hash: str) -> tuple[int, bytes, str] | None:
    query = "SELECT size, root, note FROM cosigned WHERE origin_hash = ?"
    row: tuple[int, bytes, str] | None = db.execute(query, (origin_hash,)).fetchone()
    return row


def _refusal(status: int, words: str) -> Answer:
    return Answer(status, f"{words}\n".encode())
