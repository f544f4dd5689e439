"""The environment of a process that is measured."""

from __future__ import annotations

import os

from ugsd_sdk.connection.child_process import child_environment

__all__ = ["measured_environment"]


def measured_environment() -> dict[str, str]:
    """No setting or library of ours is to change what is measured; only where Python finds the
    packages is passed on, if a variable says so."""
    found = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return child_environment() | found
