"""Forks with an open ledger: parent and child share no handle and lose no lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from time import monotonic

import pytest
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.ledger import Ledger, handles

from tests.doubles.forked import in_child
from tests.doubles.lock_holder import in_another_thread
from tests.privacy.ledger.connected_world import leaves_from_outside, send

FORKS, FORK_TIMEOUT_S, NOISE_S = 5, 0.5, 8.0
"""A fork waits at most half a second for readers and transactions of other threads."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def test_forked_child_writes_with_its_own_handle(connected) -> None:
    def child() -> int:
        connected.caption = connected.connect(connected.sender)
        return send(connected).record

    before = send(connected).record
    assert in_child(child)() == before + 2, "a handshake and a block"
    leaves_from_outside(connected.ledger.path)
    assert send(connected).record == before + 3
    assert connected.verified().size == before + 4


def test_threads_forking_at_once_keep_no_lock(connected) -> None:
    ends_s = monotonic() + 3
    connected.ledger._busy_timeout_s = 30.0  # three threads fork, each for half a second at most
    failed: list[str] = []

    def fork() -> None:
        while monotonic() < ends_s and not failed:
            result = in_child(lambda: "alive")()
            if result != "alive":
                failed.append(result)

    threads = [threading.Thread(target=fork) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with connected.ledger.as_owner():
            pass
    for thread in threads:
        thread.join()
    assert failed == []
    with Ledger(connected.ledger.path.parent) as other, other.reading() as view:
        assert view.size()


@pytest.mark.usefixtures("connected")
def test_forks_of_two_threads_take_turns() -> None:
    registry = handles._REGISTRY
    registry._before_fork()
    second = threading.Thread(target=registry._before_fork)
    second.start()
    second.join(1.5)  # longer than a fork waits for a lock
    assert second.is_alive(), "the second fork lost what the first one has paused"
    registry._after_fork()
    second.join(10)
    assert not second.is_alive()
    registry._after_fork()


def test_child_inherits_no_sqlite_connection(connected) -> None:
    with Ledger(connected.ledger.path.parent).open() as other:
        assert other._database._connection is not None
        state = in_child(
            lambda: [connected.ledger._database._connection is None, other.is_in_place()]
        )()
    assert state == [True, True]


def test_child_forked_during_a_transaction_is_refused(connected) -> None:
    def child() -> str:
        refusals = []
        for use in (connected.sender.used, Ledger(connected.ledger.path.parent).open):
            try:
                use()
            except LedgerUnavailable as error:
                refusals.append(str(error))
        connected.ledger.close()
        return str(refusals)

    with in_another_thread(connected.ledger.as_owner()):
        refusals = in_child(child)()
    assert refusals.count("forked while its parent was writing the ledger") == 2
    leaves_from_outside(connected.ledger.path)
    last = send(connected).record
    assert leaves_from_outside(connected.ledger.path) == last + 1


def test_exiting_child_does_not_delete_the_wal(connected) -> None:
    """Closing an inherited connection at exit would delete the parent's write-ahead log."""
    program = f"""
import os, sys
from ugsd_privacy.ledger import Ledger, handles
ledger = Ledger({str(connected.ledger.path.parent)!r}).open()
with ledger.reading() as view:  # a fork while a reader is open, which it cannot close
    if not os.fork():
        sys.exit()
    os.wait()
assert os.path.exists(str(ledger.path) + "-wal")
"""
    connected.ledger.close()
    subprocess.run([sys.executable, "-c", program], check=True)


def test_child_cannot_seal_on_its_parents_session(connected) -> None:
    failure = in_child(lambda: send(connected).record)()
    assert failure.startswith("ChannelClosed: this session belongs to the parent")
    assert connected.server.open(send(connected).data), "the parent's session continues"


def test_forks_wait_for_readers_a_bounded_time(connected) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with connected.ledger.reading() as view:
                view.size()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    started_s = monotonic()
    try:
        for _ in range(FORKS):
            assert in_child(lambda: "alive")() == "alive"
            send(connected)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert monotonic() - started_s < FORKS * FORK_TIMEOUT_S + NOISE_S
