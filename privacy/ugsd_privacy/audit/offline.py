"""Verification of an exported log: one file and a public key, no device and no ledger.

It finds what :func:`ugsd_privacy.audit.verify.verify_log` finds in the tree, its counters and its
checkpoints. What the bodies say, only their owner can read: of them it proves that they are those
that the device exported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ugsd_privacy.audit.bodies import is_sealed
from ugsd_privacy.audit.export import (
    CHECK_BYTES,
    ExportHeader,
    RunningTotals,
    check_longest,
    check_roots,
    leaf_check,
    read_item,
    seal_text,
)
from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.keys.witness import WitnessPublicKey
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint, open_note
from ugsd_privacy.tlog.cosignature import verify_cosigned
from ugsd_privacy.tlog.tiles import TILE_WIDTH, entry_at

__all__ = ["ExportSummary", "verify_export"]


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What a verified export holds."""

    public: LogPublicKey
    """The key that it verifies by."""
    size: int
    root: bytes
    blocks: int
    tokens: int
    frame_bytes: int
    hours: tuple[int, ...]
    """UTC hour numbers of the first and the last passage, by the device's clock."""
    checkpoints: int
    """How many were verified, those given included."""
    bodies: int | None
    """How many are here, sealed; ``None`` of an export without bodies. Of the others what left was
    erased by the owner, or they tell of acts of the owner, which are not sealed."""
    witnessed: Mapping[str, tuple[int, int]]
    """By each witness's name, the size it cosigned last and when, in Unix time by its clock."""
    checkpoint: str
    """The log's own latest note."""
    notes: tuple[str, ...] = ()
    """The checkpoints in the export itself."""
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """By the number of leaves, the roots that were asked for and those of the checkpoints."""
    signed_sizes: frozenset[int] = frozenset()
    """Numbers of leaves of the checkpoints that were verified."""

    def require_extends(self, signed: Iterable[Checkpoint]) -> None:
        """Raise :class:`LogTampered` unless the log extends all of ``signed``, whose sizes were
        given to :func:`verify_export` as ``roots_at``."""
        due = list(signed)
        sizes = self.signed_sizes | {checkpoint.size for checkpoint in due}
        for checkpoint in sorted(due, key=lambda checkpoint: checkpoint.size):
            at = checkpoint.size
            if at <= self.size and self.roots[at] != checkpoint.root:
                matched = max((size for size in sizes if size < at), default=0)
                raise LogTampered(
                    f"leaves {matched} to {at - 1} are not all those that were signed",
                    index=matched,
                )
        longest = max((checkpoint.size for checkpoint in due), default=0)
        if longest > self.size:
            raise LogTampered(
                f"truncated: {longest} leaves were signed, {self.size} are here", index=self.size
            )


def verify_export(
    file: BinaryIO,
    public: LogPublicKey | None = None,
    *,
    trusted: Iterable[str] = (),
    witnesses: Iterable[WitnessPublicKey] = (),
    roots_at: Iterable[int] = (),
) -> ExportSummary:
    """Recompute the tree and the sums of an export, and check every signature.

    Without ``public`` the file's own key is taken: then it proves no more than that the file is
    whole. ``trusted`` are checkpoints from elsewhere that the log must extend; each of
    ``witnesses`` must have cosigned one that is here. ``roots_at`` are numbers of leaves at which
    the roots are kept, to hold the log against checkpoints later without reading it again.
    Raises :class:`LogTampered`, with the first leaf that is wrong, or may be, as its index. Linear
    in the log.
    """
    digest = hashlib.sha256()
    first, item = read_item(file)
    header = ExportHeader.of(item)
    key = _key_of(header, public)
    given = list(trusted)
    notes = [*header.checkpoints, *given]
    due = [open_checkpoint(note, key) for note in notes]
    if due[len(header.checkpoints) - 1].size != header.size:
        raise LogTampered("the export's last checkpoint is of another size")
    digest.update(first)
    roots = dict.fromkeys([*roots_at, *(checkpoint.size for checkpoint in due)], b"")
    sums = _replayed(file, header, due, digest, roots)
    check_longest(due, sums)
    _check_end(file, key, sums, digest)
    return ExportSummary(
        public=key,
        size=sums.size,
        root=sums.root,
        blocks=sums.blocks,
        tokens=sums.tokens,
        frame_bytes=sums.frame_bytes,
        hours=header.hours,
        checkpoints=len(set(notes)),
        bodies=sums.bodies if header.bodies else None,
        witnessed=verify_cosigned(notes, witnesses, lambda note: open_checkpoint(note, key)),
        checkpoint=header.checkpoints[-1],
        notes=header.checkpoints,
        roots={size: root for size, root in roots.items() if root},
        signed_sizes=frozenset(checkpoint.size for checkpoint in due),
    )


def _key_of(header: ExportHeader, public: LogPublicKey | None) -> LogPublicKey:
    try:
        own = LogPublicKey.from_text(header.key)
    except KeyFileError as error:
        raise LogTampered(f"the export's key: {error}") from None
    if own.to_text() != header.key:
        raise LogTampered("the export's key is not as keys are written")
    if public is not None and own.to_text() != public.to_text():
        raise LogTampered(f"the export is of {own.origin}, not of {public.origin}")
    return own


def _replayed(
    file: BinaryIO,
    header: ExportHeader,
    due: list[Checkpoint],
    digest: Any,
    roots: dict[int, bytes],
) -> RunningTotals:
    sums = RunningTotals()
    check_roots(due, sums)
    if 0 in roots:
        roots[0] = sums.root
    while sums.size < header.size:
        start = sums.size
        count = min(TILE_WIDTH, header.size - start)
        try:
            framed, item = read_item(file)
            contents, kept = _chunk(item, count, start, bodies=header.bodies)
        except LogTampered as error:
            if error.index is not None:
                raise
            raise LogTampered(f"from leaf {start} on: {error}", index=start) from None
        for content in contents:
            sums.add(content)
            check_roots(due, sums)
            if sums.size in roots:
                roots[sums.size] = sums.root
        digest.update(framed)
        sums.bodies += kept
    return sums


def _chunk(item: Any, count: int, start: int, *, bodies: bool) -> tuple[list[bytes], int]:
    """The contents of a chunk's leaves, none of which is damaged, and how many bodies it has."""
    match item:
        case None:
            raise LogTampered("the file ends early")
        case [bytes(bundle), tuple(kept), bytes(checks)]:
            pass
        case _:
            raise LogTampered("not a chunk of leaves")
    if len(kept) != (count if bodies else 0) or not all(type(body) is bytes for body in kept):
        raise LogTampered("bodies are missing")
    contents, at = list[bytes](), 0
    for number in range(count):
        check = checks[number * CHECK_BYTES : (number + 1) * CHECK_BYTES]
        try:
            content, at = entry_at(bundle, at)
            whole = leaf_check(start + number, content, *kept[number : number + 1]) == check
        except LogTampered:
            whole = False
        if not whole:
            leaf = start + number
            raise LogTampered(f"leaf {leaf} is damaged, or is another one", index=leaf)
        contents.append(content)
    for number, body in enumerate(kept):
        if body and not is_sealed(body):
            leaf = start + number
            raise LogTampered(f"body {leaf} is not sealed", index=leaf)
    if at != len(bundle) or len(checks) != count * CHECK_BYTES:
        raise LogTampered(f"more than {count} leaves")
    return contents, sum(map(bool, kept))


def _check_end(file: BinaryIO, key: LogPublicKey, sums: RunningTotals, digest: Any) -> None:
    framed, counts = read_item(file)
    if counts != sums.counts or any(type(count) is not int for count in counts):
        raise LogTampered(f"the leaves' counters add up to {sums.counts}, the file has others")
    digest.update(framed)
    _, seal = read_item(file)
    if type(seal) is not str or open_note(seal, key) != seal_text(digest.digest()):
        raise LogTampered("something in the file is not what the device exported")
    if file.read(1):
        raise LogTampered("the file goes on after its end")
