"""Processes without a home, a working directory, locks or hard links."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import ugsd_sdk.connection.endpoints  # noqa: F401  # before another user runs, who may not read it
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import LedgerUnavailable, PrivacyError
from ugsd_privacy.files.key_files import create_private
from ugsd_sdk import Captioner
from ugsd_sdk.connection.child_process import module_command
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.speech.reader import WholeRecording

from tests.doubles.forked import in_child

fcntl = pytest.importorskip("fcntl", reason="this system has other locks")

NOBODY = 54_321
"""A user id without an entry in the password database."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def captioned(**given: object) -> str:
    samples = np.full(16_000, 0.1, np.float32)
    with Captioner(ScriptedDrafter(), detector=WholeRecording(), **given) as captioner:  # type: ignore[arg-type]
        return captioner.caption(samples, 16_000).text


def open_ledger(home: Path) -> None:
    UserEgress(Home.from_path(home), BudgetLimits.without_caps(), "ada").open()


@as_root
def test_user_without_entry_captions_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    ours, read_only = captioned(), tmp_path / "home"
    open_ledger(tmp_path / "loaded")  # the other user may not read the standard library
    read_only.mkdir(mode=0o555)

    def work() -> object:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        refused = []
        verified = Captioner(ScriptedDrafter(), verifier="embedded")
        calls: list[Callable[[], object]] = [verified.load, lambda: open_ledger(read_only)]
        for call in calls:
            with pytest.raises((ConfigError, LedgerUnavailable)) as caught:
                call()
            refused.append(type(caught.value).__name__)
        return [captioned(), *refused]

    assert in_child(work)() == [ours, "ConfigError", "LedgerUnavailable"]


def test_null_character_in_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="null character"):
        captioned(verifier="embedded", home=tmp_path / "a\0b")


def test_deleted_working_directory_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()

    def work() -> object:
        os.chdir(folder)
        shutil.rmtree(folder)
        return [captioned(), module_command("ugsd_server", needs=("ugsd_server",))[4]]

    assert in_child(work)() == [captioned(), "ugsd_server"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EACCES, errno.EMLINK])
def test_keys_need_no_hard_links(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(code, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.key"
    create_private(path, "first")
    assert path.read_text() == "first\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(PrivacyError):
        create_private(path, "second")
    assert path.read_text() == "first\n"
    assert list(tmp_path.iterdir()) == [path]


def test_home_without_locks_costs_no_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    text = captioned()
    assert text == captioned(verifier="embedded", home=tmp_path, user="ada")
