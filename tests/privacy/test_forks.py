"""Forks wait for threads that import modules, whose locks a child could never take."""

from __future__ import annotations

import os
import threading
import time

import pytest
from ugsd_privacy import forks
from ugsd_privacy.forks import forks_wait

from tests.doubles.forked import in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")


def importing_thread(end: threading.Event) -> threading.Thread:
    begun = threading.Event()

    def run() -> None:
        with forks_wait(), forks_wait():
            begun.set()
            end.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(10)
    return thread


def test_fork_waits_for_another_thread() -> None:
    end = threading.Event()
    thread = importing_thread(end)
    threading.Timer(0.3, end.set).start()
    started_s = time.monotonic()
    result = in_child(threading.active_count)
    assert time.monotonic() - started_s > 0.25
    thread.join(10)
    assert result() == 1


def test_forks_do_not_wait_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_FORK_TIMEOUT_S", 0.1)
    end = threading.Event()
    thread = importing_thread(end)

    def imports_as_well() -> str:
        with forks_wait():
            return "imported"

    result = in_child(imports_as_well)
    end.set()
    thread.join(10)
    assert result() == "imported"


def test_fork_within_the_block_does_not_wait() -> None:
    started_s = time.monotonic()
    with forks_wait():
        result = in_child(lambda: "forked")
    assert result() == "forked"
    assert time.monotonic() - started_s < 5
