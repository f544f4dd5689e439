"""One thread for the mathematics of every test and of the processes that it starts.

The tests run in as many workers as there are cores. Libraries that start a thread per core in each
worker then wait for one another: what takes a second on one thread takes up to a minute.
"""

from __future__ import annotations

import os

# Libraries read these when they are loaded, which no plugin of pytest does.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
