"""A witness of logs: it cosigns only checkpoints that extend what it cosigned before.

Implements C2SP tlog-witness sans I/O: it takes the bytes of a request, and returns status and bytes
of the answer. Its state is on disk before it answers (:mod:`ugsd_privacy.tlog.witness_state`).
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
    """A witness's answer to one request."""

    status: int
    """The HTTP status code."""
    body: bytes
    content_type: str = _PLAIN

    @property
    def is_size(self) -> bool:
        """Whether the body is the size that was cosigned last, from which to ask again."""
        return self.content_type == _SIZE


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign ``note``; ``proof`` shows that it extends ``old_size`` leaves."""

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
        """Return the body of an ``add-checkpoint`` request."""
        lines = [f"old {self.old_size}", *(base64.b64encode(step).decode() for step in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.note).encode()


class Witness:
    """A witness that cosigns checkpoints of ``logs`` with ``key``.

    Threads may share it, and processes may share ``state``. ``clock`` returns Unix time in seconds.
    """

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
        cosigned last, or 400, 403, 404, 409 (another tree of that size) or 422 with a message.

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
            checkpoint = parse_checkpoint(text, log.origin)
        except LogTampered as error:
            return _refusal(400, str(error))
        if request.old_size > checkpoint.size:
            return _refusal(400, "the old size is larger than the checkpoint's")
        return self._decide(request, checkpoint, text)

    def checkpoint(self, origin_hash: str) -> Answer:
        """Answer with the last cosigned checkpoint of a log, or 404 if there is none.

        ``origin_hash`` is the SHA-256 of the log's origin in hex. Raises as :meth:`add_checkpoint`.
        """
        note = self._state.note(origin_hash)
        return (
            _refusal(404, "no checkpoint of that log was cosigned")
            if note is None
            else Answer(200, note.encode())
        )

    def _decide(self, request: AddCheckpoint, checkpoint: Checkpoint, text: str) -> Answer:
        with self._state.transaction(checkpoint.origin) as latest:
            if request.old_size != latest.size:
                return Answer(409, f"{latest.size}\n".encode(), _SIZE)
            if checkpoint.size == latest.size and checkpoint.root != latest.root:
                return _refusal(409, f"another tree of {latest.size} leaves was cosigned before")
            try:
                verify_consistency(
                    latest.size, checkpoint.size, latest.root, checkpoint.root, request.proof
                )
            except LogTampered as error:
                return _refusal(422, str(error))
            line = cosign(text, self._key, self._now_s())
            latest.replace(checkpoint, request.note + line)
        return Answer(200, line.encode())

    def _now_s(self) -> int:
        now_s = int(self._clock())
        if not 0 < now_s < END_OF_TIME_S:
            raise WitnessUnavailable("this clock is wrong; set it. Nothing was signed")
        return now_s


def _refusal(status: int, reason: str) -> Answer:
    return Answer(status, f"{reason}\n".encode())
