"""Threads that begin at the same moment, and switch as often as the interpreter lets them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

__all__ = ["all_at_once", "switching_often"]

_Result = TypeVar("_Result")


def all_at_once(*works: Callable[[], _Result]) -> list[_Result]:
    """Run each of ``works`` on a thread of its own, all from the same moment on, and return what
    they return. Raises what the first failed one raises."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], _Result]) -> _Result:
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


@contextmanager
def switching_often() -> Iterator[None]:
    """Let the interpreter switch threads about every microsecond inside the block."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
