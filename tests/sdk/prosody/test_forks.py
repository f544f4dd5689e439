"""Measuring prosody starts no threads: a process may fork meanwhile."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import ugsd_sdk

from tests.doubles.forked import with_all_threads

FORKING = """
import os, threading
import numpy as np
from ugsd_sdk.prosody.contours import measure_contours

voice = np.random.default_rng(0).normal(size=64_000).astype(np.float32)
stop = threading.Event()

def measure():
    while not stop.is_set():
        measure_contours(voice, [(0, len(voice))])

threads = [threading.Thread(target=measure) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(60):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
stop.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_process_forks_while_prosody_is_measured() -> None:
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=60, env=with_all_threads())


def test_device_multiplies_no_matrices() -> None:
    """Their library starts threads, which a fork stops."""
    folder = Path(ugsd_sdk.__file__).parent
    found = {
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in folder.rglob("*.py")
        if path.name != "state_reading.py"  # for the owner's commands, of a few numbers
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult))
        or (isinstance(node, ast.Attribute) and node.attr in {"dot", "matmul", "tensordot"})
    }
    assert not found
