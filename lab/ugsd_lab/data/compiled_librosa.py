"""librosa, whose compiled functions are stored by one process at a time.

librosa compiles functions with numba and stores them beside its own files. Two processes that
store two variants of one function at once may give both the same file; whoever reads it later
crashes, and so does every process after it.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
from ugsd_privacy.files.file_lock import file_lock

__all__ = ["compiled_librosa"]

_COMPILING_S = 300.0
"""How long one process waits while another compiles; it takes some ten seconds."""


@cache
def compiled_librosa() -> ModuleType:
    """Return the module ``librosa`` after its pitch tracker and spectrograms have run once.

    Raises ``FileLocked`` if another process compiles for five minutes.
    """
    spec = find_spec("librosa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("librosa is missing: install the extra 'lab'")
    with file_lock(Path(spec.origin).parent, _COMPILING_S, is_folder=True, optional=True):
        import librosa

        tone = np.sin(0.05 * np.arange(8_000)).astype(np.float32)
        librosa.pyin(tone, fmin=65, fmax=600, sr=16_000, frame_length=1024, resolution=0.2)
        librosa.feature.melspectrogram(y=tone, sr=16_000)
    module: ModuleType = librosa
    return module
