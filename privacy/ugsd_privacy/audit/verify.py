"""Verification of a whole log: everything stored is recomputed, from the records up.

Finds flipped bits, deleted, inserted and reordered records, charges that differ from what left,
and a log shorter than any checkpoint at hand. It cannot find a ledger that was rolled back
*together with* its stored checkpoints: give it checkpoints kept elsewhere (receipts, a witness) as
``trusted``. Bodies are read with the owner's key. Without it, and of those that the owner erased,
charges are held against their leaves and against the totals, which leaves unproven whose they are,
their hour, caption and epsilon.
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
"""Told now and then how much of how much is done."""
_PROGRESS_EVERY = 256


def _ignore_progress(done: int, of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What a verified log holds: ``size`` leaves under ``root``, and their sum."""

    size: int
    root: bytes
    total: Usage
    checkpoints: int
    erased: int = 0
    """Bodies that the owner erased."""
    unread: int = 0
    """Bodies that are sealed, and no owner's key was given to read them."""
    unsigned: int = 0
    """Leaves after the last signed checkpoint: nothing but their own sums holds them."""


@dataclass(slots=True)
class _Replay:
    """The log as recomputed so far."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)
    levels: list[Iterator[tuple[int, bytes]]] = field(default_factory=list)
    """What is stored of each level of the tree, from the leaves up, as far as it was compared."""
    last_hour: int = 0
    nodes: int = 0
    total: Usage = field(default_factory=Usage)
    used: defaultdict[tuple[str, str, int | bytes], Usage] = field(
        default_factory=lambda: defaultdict(Usage)
    )
    """By user, window and the window's number."""
    unread: int = 0
    missing: set[int] = field(default_factory=set)
    """Leaves whose bodies are gone, and no record yet told of it."""
    erased: int = 0


def verify_log(
    ledger: Ledger,
    public: LogPublicKey,
    *,
    owner: OwnerKey | None = None,
    trusted: Iterable[str] = (),
    progress: Progress = _ignore_progress,
) -> LogSummary:
    """Recompute every commitment, leaf, node, root and total of an open ``ledger``: see
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
    """Recompute all that one view of a ledger shows.

    ``owner`` reads the bodies; ``trusted`` are signed checkpoints from elsewhere that the log must
    extend; ``progress`` is told how many leaves of how many were read. Raises
    :class:`LogTampered`, with the index where there is one, :class:`LedgerCorrupt` for a file that
    SQLite cannot read, :class:`LedgerUnavailable`, and :class:`KeyFileError` for another owner's
    key. Linear in the log; the door need not wait.
    """
    view.check_pages()
    signed = _checkpoints(view, public, trusted)
    replay, reader = _Replay(), BodyReader(view, owner)
    due: defaultdict[int, list[Checkpoint]] = defaultdict(list)
    for checkpoint in signed:
        due[checkpoint.size].append(checkpoint)
    leaves = view.count()[0]
    for row in view.rows():
        if not replay.size % _PROGRESS_EVERY:
            progress(replay.size, leaves)
        _match_roots(due, replay)
        _replay_row(view, reader, row, replay)
    _match_roots(due, replay)
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
            raise LogTampered(f"the checkpoint of size {size} is about size {checkpoint.size}")
        stored.append(checkpoint)
    return stored + [open_checkpoint(note, public) for note in trusted]


def _match_roots(due: Mapping[int, list[Checkpoint]], replay: _Replay) -> None:
    """``due`` by the size that checkpoints are of."""
    signed = due.get(replay.size, ())
    if any(checkpoint.root != frontier_root(replay.frontier) for checkpoint in signed):
        last = replay.size - 1
        raise LogTampered(f"leaves up to {last} are not those that were signed", index=last)


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
    due = (record.user, record.hour, record.caption_id, *charge.counts)
    if tuple(row[3:]) != due:
        raise LogTampered(f"charge {index} is not what record {index} says", index=index)


def _count_charge(row: LedgerRow, replay: _Replay, index: int) -> None:
    """A charge whose record cannot be read: held against its leaf, and counted."""
    try:
        leaf = Leaf.from_bytes(row.content)
    except LogTampered as error:
        raise LogTampered(f"leaf {index}: {error}", index=index) from None
    user, hour, spend = row.user, row.hour, row.spend
    told = (row.blocks, row.tokens, row.frames, row.bytes)
    due = (leaf.blocks, leaf.tokens, 1, leaf.frame_bytes)
    if user is None or hour is None or spend is None or told != due:
        raise LogTampered(f"charge {index} is not what leaf {index} says", index=index)
    if hour < replay.last_hour:
        raise LogTampered(f"charge {index} goes back to an earlier hour", index=index)
    charge = Usage(leaf.blocks, leaf.tokens, 1, leaf.frame_bytes, spend)
    for window, number in window_numbers(hour, row.caption).items():
        replay.used[user, window, number] += charge
    replay.total += charge
    replay.last_hour = hour


def _check_erased(record: EgressRecord, replay: _Replay, index: int) -> None:
    for start, stop in record.erased:
        if not start < stop <= index:
            raise LogTampered(f"record {index} erases what is not before it", index=index)
        for leaf in range(start, stop):
            if leaf not in replay.missing:
                raise LogTampered(f"body {leaf} was erased, and is there again", index=leaf)
            replay.missing.remove(leaf)
            replay.erased += 1


def _check_budget(record: EgressRecord, charge: Usage, replay: _Replay, index: int) -> None:
    if record.hour < replay.last_hour:
        raise LogTampered(f"record {index} goes back to an earlier hour", index=index)
    for window, number in window_numbers(record.hour, record.caption_id).items():
        key = (record.user, window, number)
        used = replay.used[key]
        if record.before[window] != used.counts:
            raise LogTampered(f"record {index} does not add up with those before", index=index)
        replay.used[key] = Usage() if window in record.resets else used + charge
    replay.total += charge
    replay.last_hour = record.hour


def _check_ends(view: LedgerView, replay: _Replay, signed: list[Checkpoint]) -> None:
    if replay.missing:
        raise not_erased(min(replay.missing))
    longest = max((checkpoint.size for checkpoint in signed), default=0)
    if longest > replay.size:
        raise LogTampered(
            f"truncated: {longest} leaves were signed, {replay.size} are here", index=replay.size
        )
    leaves, charges, nodes = view.count()
    if (leaves, charges, nodes) != (replay.size, replay.size, replay.nodes):
        raise LogTampered(
            f"{charges} charges and {nodes} nodes for {leaves} leaves", index=replay.size
        )
    for user, window, number, usage in view.totals():
        if replay.used.pop((user, window, number), None) != usage:
            which = _named(user, window, number)
            told = f"the total of {which} is not what its charges add up to"
            raise LogTampered(told, user=user)
    if replay.used:
        first = min(replay.used, key=str)
        raise LogTampered(f"the total of {_named(*first)} is missing", user=first[0])


def _named(user: str, window: str, number: int | bytes) -> str:
    """One window, as its owner knows it."""
    which = (
        "" if window == "lifetime" else f" {number.hex() if isinstance(number, bytes) else number}"
    )
    return f"{user or 'a user'}'s {window}{which}"
