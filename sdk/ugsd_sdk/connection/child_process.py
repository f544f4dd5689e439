"""How a Python process of our own is started: by its path, with nothing of our environment.

Variables configure the process that they were set for. A child that inherited them could be told to
listen elsewhere, to load other code, to trust other certificates or to write its secrets down. It
gets those of :data:`_PASSED` and no others; all that matters to it is an argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["child_environment", "module_command"]

_PASSED = ("SYSTEMROOT", "WINDIR") if os.name == "nt" else ()
"""Windows opens no socket without its own two; POSIX needs none."""
_RUN = (
    "import runpy, sys; "
    "module, count = sys.argv[1], int(sys.argv[2]); "
    "folders = [f for f in sys.argv[3:3 + count] if f not in sys.path]; "
    "sys.path[:0] = folders; "
    "sys.argv[1:] = sys.argv[3 + count:]; "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def child_environment() -> dict[str, str]:
    """The environment of a child process."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def module_command(module: str, *options: str, needs: tuple[str, ...]) -> list[str]:
    """The command that runs ``module`` as ``python -m`` does, with our own interpreter.

    The child is isolated (``-I``): it reads no variable of Python's, no user's folder of packages,
    and takes nothing from the working directory. The folders of the packages ``needs`` are named to
    it where this process finds them, for an interpreter that found them by a variable.
    """
    folders = list(dict.fromkeys(_folders(needs)))
    return [sys.executable, "-I", "-c", _RUN, module, str(len(folders)), *folders, *options]


def _folders(packages: tuple[str, ...]) -> Iterator[str]:
    working = os.path.realpath(".")
    beside_us = str(Path(__file__).resolve().parents[1])
    path = [beside_us, *(f for f in sys.path if f and os.path.realpath(f) != working)]
    for package in packages:
        spec = PathFinder.find_spec(package, path)
        for place in (spec and spec.submodule_search_locations) or ():
            yield str(Path(place).resolve().parent)
