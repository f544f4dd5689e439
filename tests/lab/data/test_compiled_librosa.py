"""Compiled functions of librosa are stored by one process at a time."""

from __future__ import annotations

from pathlib import Path

import librosa
import pytest
from ugsd_lab.data import compiled_librosa as module
from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_privacy.errors import FileLocked
from ugsd_privacy.files.file_lock import file_lock


def test_compiling_waits_for_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_librosa.cache_clear()
    monkeypatch.setattr(module, "_COMPILING_S", 0.1)
    with file_lock(Path(librosa.__file__).parent, 60, is_folder=True), pytest.raises(FileLocked):
        compiled_librosa()
    monkeypatch.setattr(module, "_COMPILING_S", 300.0)
    assert compiled_librosa() is librosa
