"""Verification of an exported log: it needs the file and a public key, but no device or ledger.

It checks the tree, the counters and the checkpoints, as
:func:`ugsd_privacy.audit.verify.verify_log` does. Only the owner can read the bodies; for them it
proves that the device exported them as they are.
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
    """The content of a verified export."""

    public: LogPublicKey
    """The key that verifies it."""
    size: int
    root: bytes
    blocks: int
    tokens: int
    frame_bytes: int
    hours: tuple[int, ...]
    """UTC hour numbers of the first and the last egress, by the device's clock."""
    checkpoints: int
    """How many were verified, including trusted ones."""
    bodies: int | None
    """How many sealed bodies are included; ``None`` for an export without bodies. The other records
    were erased by the owner, or are resets and erasures, which are not sealed."""
    witnessed: Mapping[str, tuple[int, int]]
    """By each witness's name, the size it cosigned last and when, as Unix time by its clock."""
    checkpoint: str
    """The log's latest note."""
    notes: tuple[str, ...] = ()
    """The checkpoints in the export."""
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """By size in leaves, the roots for ``roots_at`` and for the checkpoints."""
    signed_sizes: frozenset[int] = frozenset()
    """Sizes in leaves of the verified checkpoints."""

    def require_extends(self, signed: Iterable[Checkpoint]) -> None:
        """Raise :class:`LogTampered` unless the log extends all of ``signed``, whose sizes were
        passed to :func:`verify_export` as ``roots_at``."""
        checkpoints = list(signed)
        sizes = self.signed_sizes | {checkpoint.size for checkpoint in checkpoints}
        for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.size):
            at = checkpoint.size
            if at <= self.size and self.roots[at] != checkpoint.root:
                matched = max((size for size in sizes if size < at), default=0)
                raise LogTampered(
                    f"one or more of leaves {matched} to {at - 1} differ from what was signed",
                    index=matched,
                )
        longest = max((checkpoint.size for checkpoint in checkpoints), default=0)
        if longest > self.size:
            raise LogTampered(
                f"truncated: {longest} leaves were signed, but only {self.size} are here",
                index=self.size,
            )


def verify_export(
    file: BinaryIO,
    public: LogPublicKey | None = None,
    *,
    trusted: Iterable[str] = (),
    witnesses: Iterable[WitnessPublicKey] = (),
    roots_at: Iterable[int] = (),
) -> ExportSummary:
    """Recompute the tree and the sums of an export, and verify every signature.

    Without ``public`` the file's own key is used; that proves only that the file is intact.
    ``trusted`` are checkpoints from elsewhere that the log must extend; each of ``witnesses`` must
    have cosigned one of all these checkpoints. The summary includes the roots at the sizes in
    ``roots_at``, to compare the log with later checkpoints without reading it again. Raises
    :class:`LogTampered`, with the first leaf that is wrong, or may be, as its index. Takes time
    linear in the log.
    """
    digest = hashlib.sha256()
    first, item = read_item(file)
    header = ExportHeader.of(item)
    key = _key_of(header, public)
    given = list(trusted)
    notes = [*header.checkpoints, *given]
    checkpoints = [open_checkpoint(note, key) for note in notes]
    if checkpoints[len(header.checkpoints) - 1].size != header.size:
        raise LogTampered("the export's last checkpoint has another size")
    digest.update(first)
    roots = dict.fromkeys([*roots_at, *(checkpoint.size for checkpoint in checkpoints)], b"")
    sums = _replay(file, header, checkpoints, digest, roots)
    check_longest(checkpoints, sums)
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
        signed_sizes=frozenset(checkpoint.size for checkpoint in checkpoints),
    )


def _key_of(header: ExportHeader, public: LogPublicKey | None) -> LogPublicKey:
    try:
        own = LogPublicKey.from_text(header.key)
    except KeyFileError as error:
        raise LogTampered(f"the export's key: {error}") from None
    if own.to_text() != header.key:
        raise LogTampered("the export's key is not in canonical form")
    if public is not None and own.to_text() != public.to_text():
        raise LogTampered(f"the export is of log {own.origin}, not {public.origin}")
    return own


def _replay(
    file: BinaryIO,
    header: ExportHeader,
    checkpoints: list[Checkpoint],
    digest: Any,
    roots: dict[int, bytes],
) -> RunningTotals:
    sums = RunningTotals()
    check_roots(checkpoints, sums)
    if 0 in roots:
        roots[0] = sums.root
    while sums.size < header.size:
        start = sums.size
        count = min(TILE_WIDTH, header.size - start)
        try:
            framed, item = read_item(file)
            contents, num_bodies = _chunk(item, count, start, bodies=header.bodies)
        except LogTampered as error:
            if error.index is not None:
                raise
            raise LogTampered(f"from leaf {start} on: {error}", index=start) from None
        for content in contents:
            sums.add(content)
            check_roots(checkpoints, sums)
            if sums.size in roots:
                roots[sums.size] = sums.root
        digest.update(framed)
        sums.bodies += num_bodies
    return sums


def _chunk(item: Any, count: int, start: int, *, bodies: bool) -> tuple[list[bytes], int]:
    """Check a chunk; return the contents of its leaves and the number of its bodies."""
    match item:
        case None:
            raise LogTampered("the file ends early")
        case [bytes(bundle), tuple(stored), bytes(checks)]:
            pass
        case _:
            raise LogTampered("not a chunk of leaves")
    if len(stored) != (count if bodies else 0) or not all(type(body) is bytes for body in stored):
        raise LogTampered("bodies are missing")
    contents, at = list[bytes](), 0
    for number in range(count):
        check = checks[number * CHECK_BYTES : (number + 1) * CHECK_BYTES]
        try:
            content, at = entry_at(bundle, at)
            whole = leaf_check(start + number, content, *stored[number : number + 1]) == check
        except LogTampered:
            whole = False
        if not whole:
            leaf = start + number
            raise LogTampered(f"leaf {leaf} is damaged or was replaced", index=leaf)
        contents.append(content)
    for number, body in enumerate(stored):
        if body and not is_sealed(body):
            leaf = start + number
            raise LogTampered(f"body {leaf} is not sealed", index=leaf)
    if at != len(bundle) or len(checks) != count * CHECK_BYTES:
        raise LogTampered(f"a chunk has more than {count} leaves")
    return contents, sum(map(bool, stored))


def _check_end(file: BinaryIO, key: LogPublicKey, sums: RunningTotals, digest: Any) -> None:
    framed, counts = read_item(file)
    if counts != sums.counts or any(type(count) is not int for count in counts):
        raise LogTampered(
            f"the leaves' counters add up to {sums.counts}, but the file has other sums"
        )
    digest.update(framed)
    _, seal = read_item(file)
    if type(seal) is not str or open_note(seal, key) != seal_text(digest.digest()):
        raise LogTampered("the file differs from what the device exported")
    if file.read(1):
        raise LogTampered("the file has data after its end")
