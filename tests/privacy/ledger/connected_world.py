"""A world with an open ledger that has sent one block, and other processes that read its ledger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Reads a ledger as another program would: it opens the file, and closes it last if it can.
_FOREIGN_READER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*db.execute("SELECT count(*) FROM leaves").fetchone())
db.close()
"""


@pytest.fixture
def connected(world):
    """A world with a session and a caption, whose ``sender`` has sent one block."""
    world.sender = world.egress()
    world.caption = world.connect(world.sender)
    world.server.open(send(world).data)
    return world


def send(world):
    """Seal one block; return its frame."""
    return world.sender.seal_block(world.channel, world.caption, world.escalation(1))


def leaves_from_outside(path: Path) -> int:
    """Return how many leaves another process reads from the ledger at ``path``."""
    command = [sys.executable, "-c", _FOREIGN_READER, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)
