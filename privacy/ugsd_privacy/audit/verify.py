"""Verification of a whole log: everything that is stored is recomputed from the records.

It detects flipped bits, deleted, inserted and reordered records, charges that differ from what was
sent, and a log shorter than any known checkpoint. It cannot detect a ledger that was rolled back
*together with* its stored checkpoints: pass checkpoints from elsewhere (receipts, a witness) as
``trusted``. Reading the bodies needs the owner's key. Without it, and for erased bodies, charges
are compared with their leaves and with the totals; then their user, hour, caption, recording and
epsilon are not proven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ugsd_privacy.audit.bodies import BodyReader, BodyUnavailable, not_erased
from ugsd_privacy.audit.records import EgressRecord, Leaf
from ugsd_privacy.budget import Usage
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Ledger, LedgerRow, LedgerView, window_numbers
from ugsd_privacy.tlog.checkpoint import Checkpoint, open_checkpoint
from ugsd_privacy.tlog.merkle import extend_frontier, frontier_root, leaf_hash

__all__ = ["LogSummary", "Progress", "verify_log", "verify_view"]

Progress = Callable[[int, int], None]
"""Called from time to time with the number of leaves read and the total."""
_PROGRESS_EVERY = 256


def _ignore_progress(done: int, of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class LogSummary:
    """The content of a verified log: ``size`` leaves under ``root``, and their total."""

    size: int
    root: bytes
    total: Usage
    checkpoints: int
    erased: int = 0
    """Bodies that the owner erased."""
    unread: int = 0
    """Sealed bodies that were not read, because no owner's key was given."""
    unsigned: int = 0
    """Leaves after the last signed checkpoint, which no signature covers."""


@dataclass(slots=True)
class _Replay:
    """The log as recomputed so far."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)
    levels: list[Iterator[tuple[int, bytes]]] = field(default_factory=list)
    """For each level of the tree, from the leaves up, an iterator over its stored nodes."""
    last_hour: int = 0
    nodes: int = 0
    total: Usage = field(default_factory=Usage)
    used: defaultdict[tuple[str, str, int | bytes], Usage] = field(
        default_factory=lambda: defaultdict(Usage)
    )
    """Usage by user, window and number of the window."""
    unread: int = 0
    missing: set[int] = field(default_factory=set)
    """Leaves whose bodies are missing without a record of erasure so far."""
    erased: int = 0


def verify_log(
    ledger: Ledger,
    public: LogPublicKey,
    *,
    owner: OwnerKey | None = None,
    trusted: Iterable[str] = (),
    progress: Progress = _ignore_progress,
) -> LogSummary:
    """Recompute every commitment, leaf, node, root and total of an open ``ledger``; see
    :func:`verify_view`."""
    with ledger.reading() as view:
        return verify_view(view, public, owner=owner, trusted=trusted, progress=progress)


def verify_view(
    view: LedgerView,
    public: LogPublicKey,
    *,
    owner: OwnerKey | None = None,
    trusted: Iterable[str] = (),
    progress: Progress = _ignore_progress,
) -> LogSummary:
    """Recompute everything in one view of a ledger.

    ``owner`` reads the bodies; ``trusted`` are signed checkpoints from elsewhere that the log must
    extend; ``progress`` is called with the number of leaves read and the total. Raises
    :class:`LogTampered`, with the index of a leaf if there is one, :class:`LedgerCorrupt` for a
    file that SQLite cannot read, :class:`LedgerUnavailable`, and :class:`KeyFileError` for another
    owner's key. Takes time linear in the log, without blocking the egress.
    """
    view.check_pages()
    signed = _checkpoints(view, public, trusted)
    replay, reader = _Replay(), BodyReader(view, owner)
    by_size: defaultdict[int, list[Checkpoint]] = defaultdict(list)
    for checkpoint in signed:
        by_size[checkpoint.size].append(checkpoint)
    leaves = view.count()[0]
    for row in view.rows():
        if not replay.size % _PROGRESS_EVERY:
            progress(replay.size, leaves)
        _check_roots(by_size, replay)
        _replay_row(view, reader, row, replay)
    _check_roots(by_size, replay)
    _check_ends(view, replay, signed)
    return LogSummary(
        size=replay.size,
        root=frontier_root(replay.frontier),
        total=replay.total,
        checkpoints=len(signed),
        erased=replay.erased,
        unread=replay.unread,
        unsigned=replay.size - max((checkpoint.size for checkpoint in signed), default=0),
    )


def _checkpoints(
    view: LedgerView, public: LogPublicKey, trusted: Iterable[str]
) -> list[Checkpoint]:
    stored = []
    for size, note in view.checkpoints():
        try:
            checkpoint = open_checkpoint(note, public)
        except LogTampered as error:
            raise LogTampered(f"the stored checkpoint of {size} leaves: {error}") from None
        if checkpoint.size != size:
            raise LogTampered(f"the stored checkpoint of {size} leaves has size {checkpoint.size}")
        stored.append(checkpoint)
    return stored + [open_checkpoint(note, public) for note in trusted]


def _check_roots(by_size: Mapping[int, list[Checkpoint]], replay: _Replay) -> None:
    signed = by_size.get(replay.size, ())
    if any(checkpoint.root != frontier_root(replay.frontier) for checkpoint in signed):
        last = replay.size - 1
        raise LogTampered(f"the leaves up to {last} differ from those that were signed", index=last)


def _replay_row(view: LedgerView, reader: BodyReader, row: LedgerRow, replay: _Replay) -> None:
    index = replay.size
    if row.leaf != index:
        raise LogTampered(f"leaf {index} is missing", index=index)
    record = reader.record(row)
    if isinstance(record, BodyUnavailable):
        replay.unread += record is BodyUnavailable.SEALED
        if record is BodyUnavailable.ERASED:
            replay.missing.add(index)
        _count_charge(row, replay, index)
    else:
        charge = record.charge
        _check_charge(row, record, charge, index)
        _check_budget(record, charge, replay, index)
        _check_erased(record, replay, index)
    replay.frontier, nodes = extend_frontier(replay.frontier, index, leaf_hash(row.content))
    for level, position, computed in nodes:
        if level == len(replay.levels):
            replay.levels.append(view.level(level))
        if next(replay.levels[level], None) != (position, computed):
            raise LogTampered(f"node {level}/{position} over leaf {index} differs", index=index)
    replay.nodes += len(nodes)
    replay.size += 1


def _check_charge(row: LedgerRow, record: EgressRecord, charge: Usage, index: int) -> None:
    about = (record.user, record.hour, record.caption_id, record.recording_id)
    expected = (*about, *charge.counts)
    if tuple(row[3:]) != expected:
        raise LogTampered(f"charge {index} differs from record {index}", index=index)


def _count_charge(row: LedgerRow, replay: _Replay, index: int) -> None:
    """Check a charge whose record cannot be read against its leaf, and count it."""
    try:
        leaf = Leaf.from_bytes(row.content)
    except LogTampered as error:
        raise LogTampered(f"leaf {index}: {error}", index=index) from None
    user, hour, spend = row.user, row.hour, row.spend
    stored = (row.blocks, row.tokens, row.frames, row.bytes)
    expected = (leaf.blocks, leaf.tokens, 1, leaf.frame_bytes)
    if user is None or hour is None or spend is None or stored != expected:
        raise LogTampered(f"charge {index} differs from leaf {index}", index=index)
    if hour < replay.last_hour:
        raise LogTampered(
            f"charge {index} is for an earlier hour than the one before it", index=index
        )
    charge = Usage(leaf.blocks, leaf.tokens, 1, leaf.frame_bytes, spend)
    for window, number in window_numbers(hour, row.caption, row.recording).items():
        replay.used[user, window, number] += charge
    replay.total += charge
    replay.last_hour = hour


def _check_erased(record: EgressRecord, replay: _Replay, index: int) -> None:
    for start, stop in record.erased:
        if not start < stop <= index:
            raise LogTampered(f"record {index} erases leaves that are not before it", index=index)
        for leaf in range(start, stop):
            if leaf not in replay.missing:
                raise LogTampered(f"body {leaf} was erased, but exists", index=leaf)
            replay.missing.remove(leaf)
            replay.erased += 1


def _check_budget(record: EgressRecord, charge: Usage, replay: _Replay, index: int) -> None:
    if record.hour < replay.last_hour:
        raise LogTampered(
            f"record {index} is for an earlier hour than the one before it", index=index
        )
    numbers = window_numbers(record.hour, record.caption_id, record.recording_id)
    for window, number in numbers.items():
        key = (record.user, window, number)
        used = replay.used[key]
        if record.before[window] != used.counts:
            raise LogTampered(
                f"the usage before record {index} is not the sum of earlier records", index=index
            )
        replay.used[key] = Usage() if window in record.resets else used + charge
    replay.total += charge
    replay.last_hour = record.hour


def _check_ends(view: LedgerView, replay: _Replay, signed: list[Checkpoint]) -> None:
    if replay.missing:
        raise not_erased(min(replay.missing))
    longest = max((checkpoint.size for checkpoint in signed), default=0)
    if longest > replay.size:
        raise LogTampered(
            f"truncated: {longest} leaves were signed, but only {replay.size} are here",
            index=replay.size,
        )
    leaves, charges, nodes = view.count()
    if (leaves, charges, nodes) != (replay.size, replay.size, replay.nodes):
        raise LogTampered(
            f"there are {charges} charges and {nodes} nodes for {leaves} leaves",
            index=replay.size,
        )
    for user, window, number, usage in view.totals():
        if replay.used.pop((user, window, number), None) != usage:
            which = _named(user, window, number)
            raise LogTampered(f"the total of {which} is not the sum of its charges", user=user)
    if replay.used:
        first = min(replay.used, key=str)
        raise LogTampered(f"the total of {_named(*first)} is missing", user=first[0])


def _named(user: str, window: str, number: int | bytes) -> str:
    """Describe one window for the owner."""
    which = (
        "" if window == "lifetime" else f" {number.hex() if isinstance(number, bytes) else number}"
    )
    return f"{user or 'a user'}'s {window}{which}"
