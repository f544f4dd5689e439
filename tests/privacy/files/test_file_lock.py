"""A held lock costs a bounded wait, and a deleted lock file still excludes others."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from ugsd_privacy.audit import cosigned, publishing
from ugsd_privacy.audit.cosigned import CosignedNotes
from ugsd_privacy.audit.publishing import publish_tiles
from ugsd_privacy.errors import ExportFailed, FileLocked
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.tlog.cosignature import cosign

from tests.doubles.lock_holder import Hold
from tests.privacy.audit.grown_log import grown_log
from tests.privacy.tlog.signed_tree import Tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such lock")
TIMEOUT_S, NOISE_S = 0.2, 1.0
NEXT_STEP = "wait until it has ended, or end it, and try again"


def test_locked_file_is_refused_within_timeout(tmp_path: Path, hold: Hold) -> None:
    end = hold("file", tmp_path / "profile.lock")
    started_s = time.monotonic()
    with pytest.raises(FileLocked, match=NEXT_STEP), file_lock(tmp_path / "profile.npz", TIMEOUT_S):
        pass
    assert TIMEOUT_S <= time.monotonic() - started_s < TIMEOUT_S + NOISE_S
    end()
    with file_lock(tmp_path / "profile.npz", TIMEOUT_S):
        assert [path.name for path in tmp_path.iterdir()] == ["profile.lock"]


def test_locked_folder_is_refused_within_timeout(tmp_path: Path, hold: Hold) -> None:
    end = hold("folder", tmp_path)
    started_s = time.monotonic()
    with pytest.raises(FileLocked, match=NEXT_STEP), file_lock(tmp_path, TIMEOUT_S, is_folder=True):
        pass
    assert TIMEOUT_S <= time.monotonic() - started_s < TIMEOUT_S + NOISE_S
    end()
    with file_lock(tmp_path, TIMEOUT_S, is_folder=True):
        assert list(tmp_path.iterdir()) == []


def test_deleted_lock_file_admits_only_one(tmp_path: Path) -> None:
    """A process that waited for a deleted lock file must wait for the next one too."""
    path, inside, most = tmp_path / "profile.npz", [], []

    def enter() -> None:
        for _ in range(50):
            with file_lock(path, 30):
                inside.append(threading.get_ident())
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
                path.with_suffix(".lock").unlink()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert max(most) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_holds_no_lock(tmp_path: Path) -> None:
    with file_lock(tmp_path, TIMEOUT_S, is_folder=True):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with file_lock(tmp_path, TIMEOUT_S, is_folder=True):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_locked_cosigned_notes_are_refused_within_timeout(
    tmp_path: Path, log_key: LogKey, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigned, "_LOCK_TIMEOUT_S", TIMEOUT_S)
    tree, key, folder = Tree(log_key), WitnessKey.generate(), tmp_path / "cosigned"
    note = tree.note(5)
    note += cosign(note.partition("\n\n")[0] + "\n", key, 1_700_000_000)
    folder.mkdir()
    end = hold("folder", folder)
    started_s = time.monotonic()
    with pytest.raises(ExportFailed, match=NEXT_STEP):
        CosignedNotes(folder).store(note, key.public, log_key.public)
    assert time.monotonic() - started_s < TIMEOUT_S + NOISE_S
    end()
    assert CosignedNotes(folder).store(note, key.public, log_key.public).size == 5


def test_locked_tiles_folder_is_refused_within_timeout(
    tmp_path: Path, log_key: LogKey, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_LOCK_TIMEOUT_S", TIMEOUT_S)
    folder = tmp_path / "tiles"
    folder.mkdir()
    with grown_log(tmp_path / "ledger", log_key) as log:
        note = log.grow(5)
        with log.ledger.reading() as view:
            end = hold("folder", folder)
            started_s = time.monotonic()
            with pytest.raises(ExportFailed, match=NEXT_STEP):
                publish_tiles(view, note, log_key.public, folder)
            assert time.monotonic() - started_s < TIMEOUT_S + NOISE_S
            end()
            assert publish_tiles(view, note, log_key.public, folder).checkpoint.size == 5
