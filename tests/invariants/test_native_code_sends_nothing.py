"""Captioning without a verifier, watched from outside Python, whose hooks do not see native
code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DEVICE = """
import json, os, time
from pathlib import Path
import ugsd_sdk
from ugsd_sdk import Captioner

def sockets():
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            names.append(os.readlink(entry))
        except OSError:
            pass
    return [name for name in names if name.startswith("socket:")]

clip = next((Path(ugsd_sdk.__file__).parent / "starter" / "clips").glob("*.opus"))
seen = set()
with Captioner() as captioner:
    for _ in range(2):
        captioner.caption(clip)
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            seen.update(sockets())
            time.sleep(0.01)
import onnxruntime
version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
disabled = os.environ.get("ORT_DISABLE_TELEMETRY")
print(json.dumps({"sockets": sorted(seen), "version": version, "telemetry_disabled": disabled}))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
def test_drafter_opens_no_socket_and_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    passed = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_", "UGSD_"))}
    done = subprocess.run(
        [sys.executable, "-c", _DEVICE],
        env={**passed, "HOME": str(home), "TMPDIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["sockets"] == []
    assert list(home.rglob("*")) == []
    assert found["version"] < [1, 29], "builds from 1.29 on report usage: see docs/decisions/007"
    assert found["telemetry_disabled"] == "1"
