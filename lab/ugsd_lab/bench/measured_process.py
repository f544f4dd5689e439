"""The environment of a measured process."""

from __future__ import annotations

import os

from ugsd_sdk.connection.child_process import child_environment

__all__ = ["measured_environment"]


def measured_environment() -> dict[str, str]:
    """Return an environment in which no setting or library of the caller changes what is measured.
    Only ``PYTHONPATH`` is passed on."""
    found = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return child_environment() | found
