"""What makes the tests fast on any machine, and changes nothing that they test.

One thread for the mathematics of every test and of the processes that it starts: the tests run in
as many workers as there are cores, and libraries that start a thread per core in each worker wait
for one another. What takes a second on one thread then takes up to a minute.

Temporary files in memory, where there is plenty of it: thousands of tests commit to a ledger, and
each commit waits for the disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY, _LEAST_FREE_BYTES = Path("/dev/shm"), 4 << 30

# Libraries read these when they are loaded, which no plugin of pytest does.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _LEAST_FREE_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
