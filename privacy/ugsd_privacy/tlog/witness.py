"""A witness of logs: it cosigns checkpoints that extend what it cosigned before, and no others.

C2SP tlog-witness, sans I/O: the bytes of a request in, status and bytes of the answer out. What it
cosigned last is on disk before it answers (:mod:`ugsd_privacy.tlog.witness_state`).
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from ugsd_privacy.errors import LogTampered, WitnessUnavailable
from ugsd_privacy.tlog.checkpoint import (
    Checkpoint,
    NoteVerifier,
    note_origin,
    open_note,
    parse_checkpoint,
)
from ugsd_privacy.tlog.cosignature import END_OF_TIME_S, Cosigner, cosign
from ugsd_privacy.tlog.merkle import verify_consistency
from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
from ugsd_privacy.tlog.witness_state import WitnessState

__all__ = ["MAX_REQUEST_BYTES", "AddCheckpoint", "Answer", "Witness"]

_MAX_PROOF_LINES = 63
_HASH_BYTES = 32
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * (_MAX_PROOF_LINES + 1)
_PLAIN = "text/plain; charset=utf-8"
_SIZE = "text/x.tlog.size"


class Answer(NamedTuple):
    """Of a witness, to one request."""

    status: int
    """As HTTP has it."""
    body: bytes
    content_type: str = _PLAIN

    @property
    def is_size(self) -> bool:
        """Whether it tells what was cosigned last, to ask again from there."""
        return self.content_type == _SIZE


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
        key: Cosigner,
        logs: Iterable[NoteVerifier],
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
        cosigned last, or 400, 403, 404, 409 (another tree of that size) or 422 in words.

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
        with self._state.transaction(wanted.origin) as latest:
            if request.old_size != latest.size:
                return Answer(409, f"{latest.size}\n".encode(), _SIZE)
            if wanted.size == latest.size and wanted.root != latest.root:
                return _refusal(409, f"not the tree of {latest.size} leaves that was cosigned")
            try:
                verify_consistency(
                    latest.size, wanted.size, latest.root, wanted.root, request.proof
                )
            except LogTampered as error:
                return _refusal(422, str(error))
            line = cosign(text, self._key, self._now_s())
            latest.replace(wanted, request.note + line)
        return Answer(200, line.encode())

    def _now_s(self) -> int:
        now_s = int(self._clock())
        if not 0 < now_s < END_OF_TIME_S:
            raise WitnessUnavailable("the clock tells no time; set it. Nothing is signed")
        return now_s


def _refusal(status: int, words: str) -> Answer:
    return Answer(status, f"{words}\n".encode())
