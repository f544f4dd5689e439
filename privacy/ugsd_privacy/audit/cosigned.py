"""On the device: checkpoints that witnesses cosigned, asked for and kept in a folder of their own.

The device opens no connection for it: a request and its answer are files that a person or the host
application carries. What is kept lies outside the ledger's folder, so that a ledger restored from
a backup is found by it.
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
    """The checkpoint that each witness cosigned last, one file each in ``folder``.

    A file of marks beside the folder names them, so that one that was lost is missed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = MarkFile(folder)

    def notes(self, public: LogPublicKey | None = None) -> list[str]:
        """All of them; with the log's key, its signatures are verified.

        Raises :class:`LogTampered`, which names the file, for one that is no such note or was lost,
        and where there are more than 64.
        """
        paths, marks = self._paths(), self._marks.read()
        if paths and not self._marks.path.exists():
            raise LogTampered(
                f"{self._marks.path} was lost, which names what witnesses cosigned: restore it, or "
                "ask a witness again (`ugsd audit cosign`)"
            )
        self._require_all(paths, marks)
        found = [(path, _read(path, public)) for path in paths]
        for path, note in found:
            least, size = marks.get(path.stem, (0, 0))[0], _size(note)
            if size < least:
                raise LogTampered(
                    f"rolled back: {path} is of {size} leaves, and one of {least} was kept: "
                    "restore it, or ask the witness again (`ugsd audit cosign`)"
                )
        return [note for _, note in found]

    def merged(self, note: str) -> str:
        """``note`` with the cosignatures that are kept of the same checkpoint."""
        text, separator, _ = note.partition("\n\n")
        same = [other for other in self.notes() if other.startswith(text + separator)]
        lines = [line for n in (note, *same) for line in n.partition("\n\n")[2].splitlines()]
        return text + separator + "".join(f"{line}\n" for line in dict.fromkeys(lines))

    def latest(self, witness: WitnessPublicKey, public: LogPublicKey | None = None) -> str | None:
        """What ``witness`` cosigned last; with the log's key, its signature is verified. Raises
        :class:`LogTampered`, which names the file."""
        path = self._path(witness)
        return _read(path, public) if path.exists() else None

    def store(self, note: str, witness: WitnessPublicKey, public: LogPublicKey) -> Checkpoint:
        """Keep a note of the log that ``witness`` cosigned, unless a later one is kept already.

        The checkpoint that is kept now. Raises :class:`LogTampered`, also where the witness
        cosigned two trees of one size, or :class:`ExportFailed`, also if
        another process keeps the folder locked for two seconds.
        """
        given, given_s = open_checkpoint(note, public), verify_cosignature(note, witness)
        path = self._path(witness)
        with exclusive_folder(self._folder, _LOCK_TIMEOUT_S):
            if path.exists():
                kept, kept_s = _kept(path, witness, public)
                if kept.size == given.size and kept.root != given.root:
                    raise LogTampered(
                        f"forked: {witness.name} cosigned another log of {kept.size} leaves, {path}"
                    )
                if (kept.size, kept_s) > (given.size, given_s):
                    return kept
            elif len(self._paths()) == _MAX_NOTES:
                raise self._full()
            write_atomically(path, note.encode(), mode=0o600)
            self._mark(path, (given.size, given_s))
        return given

    def _mark(self, path: Path, mark: Mark) -> None:
        """Mark the note at ``path``, and others whose marks were lost."""
        self._marks.make()
        for other in set(self._paths()) - {path}:
            if other.stem not in self._marks.read():
                self._marks.put(other.stem, (0, 0))
        self._marks.put(path.stem, mark)

    def _require_all(self, paths: list[Path], marks: Mapping[str, Mark]) -> None:
        """Raise :class:`LogTampered` where the folder lost what the marks name."""
        lost = sorted(set(marks) - {path.stem for path in paths})
        if lost:
            raise LogTampered(
                f"{self._folder / lost[0]}.note was lost, which a witness cosigned, so that a log "
                "that was rolled back could pass: restore it, or ask the witness again (`ugsd "
                f"audit cosign`); if that is not asked any more, delete {self._marks.path} and ask "
                "another one"
            )

    def _paths(self) -> list[Path]:
        paths = sorted(self._folder.glob("*.note"))
        if len(paths) > _MAX_NOTES:
            raise self._full()
        return paths

    def _full(self) -> LogTampered:
        return LogTampered(
            f"{self._folder} holds no more than {_MAX_NOTES} witnesses' checkpoints; delete those "
            f"of witnesses that are not asked any more, and {self._marks.path}"
        )

    def _path(self, witness: WitnessPublicKey) -> Path:
        name = hashlib.sha256(witness.to_text().encode()).hexdigest()[:16]
        return self._folder / f"{name}.note"


def cosign_request(
    view: LedgerView, note: str, public: LogPublicKey, old: str | int | None
) -> AddCheckpoint:
    """Ask for a cosignature of ``note``, a checkpoint of ``view``'s log.

    ``old`` is what the witness cosigned last: a checkpoint, its size, or ``None`` for nothing.
    Raises :class:`LogTampered` where the log does not extend it.
    """
    size = open_checkpoint(note, public).size
    if isinstance(old, str):
        cosigned = open_checkpoint(old, public)
        if cosigned.size <= size and view.root(cosigned.size) != cosigned.root:
            raise LogTampered(
                f"forked: the first {cosigned.size} leaves are not those that were cosigned"
            )
        old = cosigned.size
    old = old or 0
    _require_not_rolled_back(old, size)
    proof = consistency_proof(old, size, view.node) if old else []
    return AddCheckpoint(old, tuple(proof), note)


def accept_cosignature(
    body: bytes, request: AddCheckpoint, witness: WitnessPublicKey, public: LogPublicKey
) -> str | int:
    """The checkpoint of ``request`` with the witness's cosignature, or the size that the witness
    is at, to ask again from there.

    Raises :class:`LogTampered` where the witness refused, or cosigned more than is here.
    """
    size = open_checkpoint(request.note, public).size
    told = _SIZE_BODY.fullmatch(body)
    if told is not None:
        at = int(told[1])
        _require_not_rolled_back(at, size)
        if at == request.old_size:
            raise LogTampered(
                f"the witness was asked from {at} leaves on and is there: it cosigned another log "
                "of so many, or the answer is to an earlier request"
            )
        return at
    lines = body.decode(errors="replace")
    if not lines.startswith("— "):
        raise LogTampered(
            "the witness did not cosign the checkpoint: it refuses a log that does not extend what "
            "it cosigned before, and one that it does not know"
        )
    return with_cosignatures(request.note, lines, witness)


def _require_not_rolled_back(cosigned: int, size: int) -> None:
    if cosigned > size:
        raise LogTampered(
            f"rolled back: the witness cosigned {cosigned} leaves, {size} are here", index=size
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


def _kept(path: Path, witness: WitnessPublicKey, public: LogPublicKey) -> tuple[Checkpoint, int]:
    """A kept checkpoint, and when it was cosigned."""
    note = _read(path, public)
    with _named(path):
        return open_checkpoint(note, public), verify_cosignature(note, witness)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except LogTampered as error:
        raise LogTampered(f"{path}: {error}; restore it, or move it away") from None
