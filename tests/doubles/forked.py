"""Runs work in a forked child."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["in_child", "with_all_threads"]


def in_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Fork, and run ``work`` in the child. The result is a function that waits for what ``work``
    returned, which must be JSON, or for the name and text of the error it raised."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks among threads
        child = os.fork()
    if not child:
        os.close(reading)
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        try:
            os.write(writing, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writing)

    def result() -> Any:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        return json.loads(answer)

    return result


def with_all_threads() -> dict[str, str]:
    """Return the environment for a process whose libraries start as many threads as they like: that
    of the tests allows them one, which would hide what threads do to a fork."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
