"""Verification of a whole log: everything stored is recomputed, from the records up.

Finds flipped bits, deleted, inserted and reordered records, charges that differ from what left,
and a log shorter than any checkpoint at hand. It cannot find a ledger that was rolled back
*together with* its stored checkpoints: give it checkpoints kept elsewhere (receipts, a witness) as
``trusted``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ugsd_privacy.audit.checkpoint import Checkpoint, open_checkpoint
from ugsd_privacy.audit.merkle import extend_frontier, frontier_root, leaf_hash
from ugsd_privacy.audit.records import EgressRecord, Leaf, decode_record
from ugsd_privacy.budget import Usage
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys import LogPublicKey
from ugsd_privacy.ledger import Ledger, LedgerRow, LedgerView, window_numbers

__all__ = ["LogSummary", "verify_log"]


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What a verified log holds: ``size`` leaves under ``root``, and their sum."""

    size: int
    root: bytes
    total: Usage
    checkpoints: int


@dataclass(slots=True)
class _Replay:
    """The log as recomputed so far."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)
    last_hour: int = 0
    nodes: int = 0
    total: Usage = field(default_factory=Usage)
    used: defaultdict[tuple[str, str, int | bytes], Usage] = field(
        default_factory=lambda: defaultdict(Usage)
    )
    """By user, window and the window's number."""


def verify_log(ledger: Ledger, public: LogPublicKey, *, trusted: Iterable[str] = ()) -> LogSummary:
    """Recompute every commitment, leaf, node, root and total of an open ``ledger``.

    ``trusted`` are signed checkpoints from elsewhere that the log must extend. Raises
    :class:`LogTampered`, with the index where there is one, :class:`LedgerCorrupt` for a file that
    SQLite cannot read, and :class:`LedgerUnavailable`. Linear in the log; the door need not wait.
    """
    with ledger.reading() as view:
        view.check_pages()
        signed = _checkpoints(view, public, trusted)
        replay = _Replay()
        for row in view.rows():
            _match_roots(signed, replay)
            _replay_row(view, row, replay)
        _match_roots(signed, replay)
        _check_ends(view, replay, signed)
    root = frontier_root(replay.frontier)
    return LogSummary(replay.size, root, replay.total, len(signed))


def _checkpoints(
    view: LedgerView, public: LogPublicKey, trusted: Iterable[str]
) -> list[Checkpoint]:
    stored = []
    for size, note in view.checkpoints():
        checkpoint = open_checkpoint(note, public)
        if checkpoint.size != size:
            raise LogTampered(f"the checkpoint of size {size} is about size {checkpoint.size}")
        stored.append(checkpoint)
    return stored + [open_checkpoint(note, public) for note in trusted]


def _match_roots(signed: list[Checkpoint], replay: _Replay) -> None:
    due = [checkpoint for checkpoint in signed if checkpoint.size == replay.size]
    if due and any(checkpoint.root != frontier_root(replay.frontier) for checkpoint in due):
        last = replay.size - 1
        raise LogTampered(f"leaves up to {last} are not those that were signed", index=last)


def _replay_row(view: LedgerView, row: LedgerRow, replay: _Replay) -> None:
    index = replay.size
    if row.leaf != index:
        raise LogTampered(f"leaf {index} is missing", index=index)
    try:
        record = decode_record(row.body)
        leaf = Leaf.of(record, row.salt).to_bytes()
    except LogTampered as error:
        raise LogTampered(f"record {index}: {error}", index=index) from None
    if leaf != row.content:
        raise LogTampered(f"record {index} is not what leaf {index} commits to", index=index)
    _check_charge(row, record, index)
    _check_budget(record, replay, index)
    replay.frontier, nodes = extend_frontier(replay.frontier, index, leaf_hash(leaf))
    for level, position, computed in nodes:
        if view.node_or_none(level, position) != computed:
            raise LogTampered(f"node {level}/{position} over leaf {index} differs", index=index)
    replay.nodes += len(nodes)
    replay.size += 1


def _check_charge(row: LedgerRow, record: EgressRecord, index: int) -> None:
    due = (record.user, record.hour, record.caption_id, *record.charge.counts)
    if tuple(row[4:]) != due:
        raise LogTampered(f"charge {index} is not what record {index} says", index=index)


def _check_budget(record: EgressRecord, replay: _Replay, index: int) -> None:
    if record.hour < replay.last_hour:
        raise LogTampered(f"record {index} goes back to an earlier hour", index=index)
    after = record.after
    for window, number in window_numbers(record.hour, record.caption_id).items():
        key = (record.user, window, number)
        if Usage(*record.before[window]) != replay.used[key]:
            raise LogTampered(f"record {index} does not add up with those before", index=index)
        replay.used[key] = after[window]
    replay.total += record.charge
    replay.last_hour = record.hour


def _check_ends(view: LedgerView, replay: _Replay, signed: list[Checkpoint]) -> None:
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
            raise LogTampered(
                f"a total of {user or 'a user'}'s {window} is not what its charges add up to"
            )
    if replay.used:
        raise LogTampered("a total is missing")
