"""Command and environment of a Python child process that inherits no environment variables.

Variables are meant for the process that they were set for. Inherited ones could make a child listen
elsewhere, load other code, trust other certificates or log its secrets. A child gets only the
variables in :data:`_PASSED`; everything else that it needs is an argument.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from ugsd_sdk.errors import ConfigError

__all__ = ["child_environment", "module_command", "require_interpreter", "require_server"]

_PASSED = ("SYSTEMROOT", "WINDIR") if os.name == "nt" else ()
"""Windows opens no socket without these two; POSIX needs none."""
_RUN = (
    "import runpy, sys; "
    "module, count = sys.argv[1], int(sys.argv[2]); "
    "folders = [f for f in sys.argv[3:3 + count] if f not in sys.path]; "
    "sys.path[:0] = folders; "
    "sys.argv[1:] = sys.argv[3 + count:]; "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def require_interpreter() -> None:
    """Raise :class:`ConfigError` in a frozen app, whose executable would start the app again, and
    in a program that embeds Python and names no interpreter."""
    if getattr(sys, "frozen", False) or "__compiled__" in globals() or not sys.executable:
        raise ConfigError(
            "the embedded verifier needs a Python interpreter, which a frozen app does not have: "
            "run ugsd-server and give its address as verifier"
        )


def require_server() -> None:
    """Raise :class:`ConfigError` if this installation has no verifier, as that of the wheel for
    devices."""
    if importlib.util.find_spec("ugsd_server") is None:
        raise ConfigError(
            "this installation has no verifier: install the whole package for the embedded one, or "
            "run ugsd-server on another machine and give its address"
        )


def child_environment() -> dict[str, str]:
    """Return the environment of a child process."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def module_command(module: str, *options: str, needs: tuple[str, ...]) -> list[str]:
    """Return the command that runs ``module`` as ``python -m`` does, with this interpreter.

    The child is isolated (``-I``): it ignores Python's variables, the user's site-packages and the
    working directory. The command passes the folders where this process finds the packages
    ``needs``, in case a variable made this interpreter find them.
    """
    folders = list(dict.fromkeys(_folders(needs)))
    return [sys.executable, "-I", "-c", _RUN, module, str(len(folders)), *folders, *options]


def _folders(packages: tuple[str, ...]) -> Iterator[str]:
    working = _working_directory()
    own_parent = str(Path(__file__).resolve().parents[1])
    path = [own_parent, *(f for f in sys.path if f and os.path.realpath(f) != working)]
    for package in packages:
        spec = PathFinder.find_spec(package, path)
        for location in (spec and spec.submodule_search_locations) or ():
            yield str(Path(location).resolve().parent)


def _working_directory() -> str | None:
    """Return the real path of the working directory; ``None`` if it was deleted."""
    try:
        return str(Path.cwd().resolve())
    except FileNotFoundError:
        return None
