"""Cosigned checkpoints on the device: requests to witnesses, and the folder with their answers.

The device opens no connection for this: requests and answers are files that a person or the host
application transfers. The folder is outside of the ledger's folder, so that it reveals a ledger
that was restored from a backup.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ugsd_privacy.errors import LogTampered
from ugsd_privacy.files.atomic_files import exclusive_folder, write_atomically
from ugsd_privacy.files.marks import Mark, MarkFile
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.keys.witness import WitnessPublicKey
from ugsd_privacy.ledger import LedgerView
from ugsd_privacy.tlog.checkpoint import (
    Checkpoint,
    note_origin,
    note_signatures,
    open_checkpoint,
    parse_checkpoint,
)
from ugsd_privacy.tlog.cosignature import verify_cosignature, with_cosignatures
from ugsd_privacy.tlog.merkle import consistency_proof
from ugsd_privacy.tlog.note_files import read_note
from ugsd_privacy.tlog.witness import AddCheckpoint

__all__ = ["CosignedNotes", "accept_cosignature", "cosign_request"]

_SIZE_BODY = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_MAX_NOTES = 64
_LOCK_TIMEOUT_S = 2.0


class CosignedNotes:
    """The last checkpoint that each witness cosigned, as files in ``folder``.

    A file of marks beside the folder names them, so that a lost file is noticed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = MarkFile(folder)

    def notes(self, public: LogPublicKey | None = None) -> list[str]:
        """Return all cosigned checkpoints; with the log's key, verify its signatures.

        Raises :class:`LogTampered`, which names the file, if one is invalid or was lost, or if
        there are more than 64.
        """
        paths, marks = self._paths(), self._marks.read()
        if paths and not self._marks.path.exists():
            raise LogTampered(
                f"{self._marks.path}, the list of cosigned checkpoints, was lost: restore it, or "
                "ask a witness again (`ugsd audit cosign`)"
            )
        self._require_all(paths, marks)
        found = [(path, _read(path, public)) for path in paths]
        for path, note in found:
            least, size = marks.get(path.stem, (0, 0))[0], _size(note)
            if size < least:
                raise LogTampered(
                    f"rolled back: {path} has {size} leaves, but an earlier one had {least}: "
                    "restore it, or ask the witness again (`ugsd audit cosign`)"
                )
        return [note for _, note in found]

    def merged(self, note: str) -> str:
        """Return ``note`` with all stored cosignatures of the same checkpoint."""
        text, separator, _ = note.partition("\n\n")
        same = [other for other in self.notes() if other.startswith(text + separator)]
        lines = [line for n in (note, *same) for line in n.partition("\n\n")[2].splitlines()]
        return text + separator + "".join(f"{line}\n" for line in dict.fromkeys(lines))

    def latest(self, witness: WitnessPublicKey, public: LogPublicKey | None = None) -> str | None:
        """Return the checkpoint that ``witness`` cosigned last; with the log's key, verify its
        signature. Raises :class:`LogTampered`, which names the file."""
        path = self._path(witness)
        return _read(path, public) if path.exists() else None

    def store(self, note: str, witness: WitnessPublicKey, public: LogPublicKey) -> Checkpoint:
        """Store a cosigned note unless a later one is stored; return the stored checkpoint.

        Raises :class:`LogTampered`, also if the witness cosigned two trees of the same size, or
        :class:`ExportFailed`, also if another process locks the folder for two seconds.
        """
        given, given_s = open_checkpoint(note, public), verify_cosignature(note, witness)
        path = self._path(witness)
        with exclusive_folder(self._folder, _LOCK_TIMEOUT_S):
            if path.exists():
                stored, stored_s = _stored(path, witness, public)
                if stored.size == given.size and stored.root != given.root:
                    raise LogTampered(
                        f"forked: {witness.name} cosigned another log of {stored.size} leaves: "
                        f"see {path}"
                    )
                if (stored.size, stored_s) > (given.size, given_s):
                    return stored
            elif len(self._paths()) == _MAX_NOTES:
                raise self._full()
            write_atomically(path, note.encode(), mode=0o600)
            self._mark(path, (given.size, given_s))
        return given

    def _mark(self, path: Path, mark: Mark) -> None:
        """Write the mark of the note at ``path``, and marks for notes whose marks were lost."""
        self._marks.make()
        for other in set(self._paths()) - {path}:
            if other.stem not in self._marks.read():
                self._marks.put(other.stem, (0, 0))
        self._marks.put(path.stem, mark)

    def _require_all(self, paths: list[Path], marks: Mapping[str, Mark]) -> None:
        """Raise :class:`LogTampered` if the folder lost a note that the marks name."""
        lost = sorted(set(marks) - {path.stem for path in paths})
        if lost:
            raise LogTampered(
                f"{self._folder / lost[0]}.note, a cosigned checkpoint, was lost; without it, a "
                "rolled back log could go unnoticed: restore it, or ask the witness again (`ugsd "
                "audit cosign`); if you no longer use that witness, delete "
                f"{self._marks.path} and ask another one"
            )

    def _paths(self) -> list[Path]:
        paths = sorted(self._folder.glob("*.note"))
        if len(paths) > _MAX_NOTES:
            raise self._full()
        return paths

    def _full(self) -> LogTampered:
        return LogTampered(
            f"{self._folder} may hold at most {_MAX_NOTES} checkpoints of witnesses; delete those "
            f"of witnesses that you no longer use, and {self._marks.path}"
        )

    def _path(self, witness: WitnessPublicKey) -> Path:
        name = hashlib.sha256(witness.to_text().encode()).hexdigest()[:16]
        return self._folder / f"{name}.note"


def cosign_request(
    view: LedgerView, note: str, public: LogPublicKey, old: str | int | None
) -> AddCheckpoint:
    """Return a request to cosign ``note``, a checkpoint of ``view``'s log.

    ``old`` is what the witness cosigned last: a checkpoint, its size, or ``None`` for nothing.
    Raises :class:`LogTampered` if the log does not extend it.
    """
    size = open_checkpoint(note, public).size
    if isinstance(old, str):
        cosigned = open_checkpoint(old, public)
        if cosigned.size <= size and view.root(cosigned.size) != cosigned.root:
            raise LogTampered(
                f"forked: the first {cosigned.size} leaves differ from those that were cosigned"
            )
        old = cosigned.size
    old = old or 0
    _require_not_rolled_back(old, size)
    proof = consistency_proof(old, size, view.node) if old else []
    return AddCheckpoint(old, tuple(proof), note)


def accept_cosignature(
    body: bytes, request: AddCheckpoint, witness: WitnessPublicKey, public: LogPublicKey
) -> str | int:
    """Return the requested checkpoint with the witness's cosignature, or the size that the witness
    cosigned last, from which to ask again.

    Raises :class:`LogTampered` if the witness refused, or cosigned more leaves than exist here.
    """
    size = open_checkpoint(request.note, public).size
    size_answer = _SIZE_BODY.fullmatch(body)
    if size_answer is not None:
        last_size = int(size_answer[1])
        _require_not_rolled_back(last_size, size)
        if last_size == request.old_size:
            raise LogTampered(
                f"the witness refused, although it cosigned {last_size} leaves as the request says:"
                " it cosigned another log of that size, or this answers an earlier request"
            )
        return last_size
    lines = body.decode(errors="replace")
    if not lines.startswith("— "):
        raise LogTampered(
            "not a witness's answer: give the file with its cosignature; if this is its answer, it "
            "refused: it does not know this log, or the log does not extend what it cosigned before"
        )
    return with_cosignatures(request.note, lines, witness)


def _require_not_rolled_back(cosigned: int, size: int) -> None:
    if cosigned > size:
        raise LogTampered(
            f"rolled back: the witness cosigned {cosigned} leaves, but only {size} are here",
            index=size,
        )


def _read(path: Path, public: LogPublicKey | None = None) -> str:
    note = read_note(path, ours=True)
    with _named(path):
        if public is None:
            note_signatures(note)
        else:
            open_checkpoint(note, public)
    return note


def _size(note: str) -> int:
    text, _ = note_signatures(note)
    return parse_checkpoint(text, note_origin(note)).size


def _stored(path: Path, witness: WitnessPublicKey, public: LogPublicKey) -> tuple[Checkpoint, int]:
    """Read a stored checkpoint, and when it was cosigned."""
    note = _read(path, public)
    with _named(path):
        return open_checkpoint(note, public), verify_cosignature(note, witness)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except LogTampered as error:
        raise LogTampered(f"{path}: {error}; restore it, or move it away") from None
